"""That a state came back as it was stored is proven without hashing it again, and nobody can cheat the proof."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from unbroken.checkpoint import tensorfile
from unbroken.checkpoint.state import Snapshot, capture_state, restore_state
from unbroken.checkpoint.store import CheckpointStore
from unbroken.errors import CheckpointError

IDENTITY = "a" * 64


class Holder:
    """Takes a tensor or an array in, in the way that a test wants."""

    def __init__(self, value: Any, take: Callable[[Any], Any] = lambda value: value) -> None:
        self.value, self._take = value, take

    def state_dict(self) -> dict[str, Any]:
        return {"x": self.value}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.value = self._take(state["x"])


class Module(torch.nn.Module):
    """A module that does something to what it is given, before it copies it."""

    def __init__(self, spoil: Callable[[torch.Tensor], Any]) -> None:
        super().__init__()
        self.x = torch.nn.Parameter(torch.zeros(4))
        self._spoil = spoil

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *arguments: Any) -> None:
        self._spoil(state_dict[f"{prefix}x"])
        super()._load_from_state_dict(state_dict, prefix, *arguments)


def double(value: Any) -> Any:
    with torch.no_grad():
        value *= 2
    return value


def reload(holder: Any, folder: Path) -> Snapshot:
    store = CheckpointStore(folder)
    store.save(1, capture_state({"it": holder}), IDENTITY)
    return store.load(1, IDENTITY).snapshot


CHEATS: dict[str, Callable[[Any], Any]] = {
    "kept and changed": double,
    "changed and copied": lambda value: double(value).clone() if isinstance(value, torch.Tensor) else double(value) + 0,
    "changed past the version": lambda value: (
        double(value.data).clone() if isinstance(value, torch.Tensor) else double(value.view()).copy()
    ),
    "copied and changed": lambda value: double(value + 0),
    "a view, changed": lambda value: (double(value[1:]), value)[1],
    "sorted": lambda value: np.sort(value)[::-1].copy() if isinstance(value, np.ndarray) else value.flip(0),
}


@pytest.mark.parametrize("cheat", CHEATS)
@pytest.mark.parametrize("value", [torch.arange(1.0, 5.0), np.arange(1.0, 5.0)], ids=["tensor", "array"])
def test_a_value_that_was_changed_while_it_was_loaded_is_named(cheat: str, value: Any, tmp_path: Path) -> None:
    stored = reload(Holder(value), tmp_path)
    with pytest.raises(CheckpointError, match="did not come back as it was stored: tensor it/x"):
        restore_state(stored, {"it": Holder(value * 0, CHEATS[cheat])})


@pytest.mark.parametrize("keep", [lambda value: value, lambda value: value + 0], ids=["kept", "copied"])
def test_a_value_that_was_not_is_accepted(keep: Callable[[Any], Any], tmp_path: Path) -> None:
    holder = Holder(torch.zeros(4), keep)
    restore_state(reload(Holder(torch.arange(4.0)), tmp_path), {"it": holder})
    assert holder.value.tolist() == [0, 1, 2, 3]


def test_a_module_that_changes_what_it_is_given_is_found(tmp_path: Path) -> None:
    module = Module(lambda _: None)
    with torch.no_grad():
        module.x += 1
    with pytest.raises(CheckpointError, match="as it was stored: tensor it/x"):
        restore_state(reload(module, tmp_path), {"it": Module(double)})


@pytest.mark.parametrize("by", [2.0**-149, -0.0], ids=["the last bit", "the sign of zero"])
def test_one_bit_in_a_large_module_is_found(by: float, tmp_path: Path) -> None:
    class Large(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("x", torch.zeros(1_000_003))

    class Spoiling(Large):
        def _load_from_state_dict(self, *arguments: Any) -> None:
            super()._load_from_state_dict(*arguments)
            self.x[-1] = by

    with pytest.raises(CheckpointError, match="as it was stored: tensor it/x"):
        restore_state(reload(Large(), tmp_path), {"it": Spoiling()})


class OwnAdam(torch.optim.Adam):
    """Of the user's own, as far as loading goes."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        spoil_optimizer(self)


def spoil_optimizer(optimizer: torch.optim.Optimizer) -> None:
    for values in optimizer.state.values():
        values["exp_avg"].data *= 2


def trained(kind: type[torch.optim.Adam] = torch.optim.Adam, steps: int = 1) -> dict[str, Any]:
    torch.manual_seed(0)
    model = torch.nn.Linear(300, 300)
    optimizer = kind(model.parameters())
    for _ in range(steps):
        model(torch.ones(1, 300)).sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    return {"model": model, "optimizer": optimizer}


def store_trained(folder: Path) -> CheckpointStore:
    store = CheckpointStore(folder)
    store.save(1, capture_state(trained()), IDENTITY)
    return store


@pytest.mark.parametrize("way", ["method", "hook", "hook of a module"])
def test_what_spoils_past_the_version_is_found_in_modules_and_optimizers(way: str, tmp_path: Path) -> None:
    stored = store_trained(tmp_path).load(1, IDENTITY).snapshot
    state = trained(OwnAdam if way == "method" else torch.optim.Adam, steps=0)
    if way == "hook":
        state["optimizer"].register_load_state_dict_post_hook(spoil_optimizer)
    if way == "hook of a module":
        state["model"].register_load_state_dict_pre_hook(lambda _, states, *__: states["bias"].data.mul_(2))
    place = "model/bias" if way == "hook of a module" else "optimizer/state/0/exp_avg"
    with pytest.raises(CheckpointError, match=f"as it was stored: tensor {place}"):
        restore_state(stored, state)


def test_a_resume_hashes_each_tensor_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = store_trained(tmp_path)
    hashed: list[int] = []
    real = tensorfile.digest_tensor
    monkeypatch.setattr(tensorfile, "digest_tensor", lambda spec, data: (hashed.append(len(data)), real(spec, data))[1])
    loaded = store.load(1, IDENTITY).snapshot
    once = sum(hashed)
    restore_state(loaded, trained(steps=0))
    assert sum(hashed) == once
    assert once > 3 * 360_000


def test_bytes_are_compared_to_the_end() -> None:
    for size in (0, 1, 7, 8, 9, 4095, 1 << 20, (1 << 20) + 5):
        first = bytes(size)
        assert tensorfile.equal_bytes(memoryview(first), memoryview(bytes(size)))
        for at in {0, size // 2, size - 1} if size else ():
            other = bytearray(size)
            other[at] = 1
            assert not tensorfile.equal_bytes(memoryview(first), memoryview(other))
    assert not tensorfile.equal_bytes(memoryview(b"a"), memoryview(b"ab"))


@pytest.mark.parametrize("has_threads", [True, False])
def test_what_is_equal_is_found_with_and_without_threads(has_threads: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    if not has_threads:
        monkeypatch.setattr(ThreadPoolExecutor, "submit", refuse)
    first = {f"t{index}": torch.arange(1 + 3000 * index) for index in range(12)} | {"none": torch.empty(0)}
    second = {name: tensor.clone() for name, tensor in first.items()}
    for name in ("t2", "t11"):
        second[name][-1] += 1
    second["t7"] = second["t7"].repeat_interleave(2)[::2]  # the same values in another layout
    assert tensorfile.find_equal(first, first, second) == first.keys() - {"t2", "t11"}
