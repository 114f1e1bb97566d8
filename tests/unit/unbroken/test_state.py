"""Capture and restore, exactly, without pickle."""

from __future__ import annotations

import math
import random
from collections import Counter, OrderedDict, deque
from typing import Any

import numpy as np
import pytest
import torch

from unbroken.checkpoint.state import capture_state, compare_states, restore_state
from unbroken.checkpoint.tree import Decoder, Encoder
from unbroken.errors import CheckpointError
from unbroken.exact.randomness import (
    _sort_stably,
    derive_seed,
    epoch_permutation,
    numpy_generator,
    sample_ids,
    seed_all,
    torch_generator,
)


@pytest.mark.parametrize(
    "values",
    [
        [0.1, -0.0, 1e300],
        [0.1, float("nan")],
        [float("inf")],
        [1, True, None, "text", 10**400],
        [1, 0.5],
        [],
        [0.5, [0.5]],
        [np.float64(0.5)],
        [0.5, torch.ones(1)],
    ],
    ids=str,
)
def test_a_list_is_stored_as_its_items_are(values: list[Any]) -> None:
    for kind in (list, tuple, deque):
        tree = Encoder().encode(kind(values), "a")
        items = [Encoder().encode(value, f"a/{index}") for index, value in enumerate(values)]
        stored = tree if kind is list else tree["items"]  # type: ignore[call-overload, index]
        assert stored == items or repr(stored) == repr(items)
        assert [type(item) for item in stored] == [type(item) for item in items]  # type: ignore[union-attr]
        assert stored is not values


def same(first: Any, second: Any) -> bool:
    if isinstance(first, torch.Tensor):
        return first.dtype == second.dtype and first.shape == second.shape and repr(first) == repr(second)
    if isinstance(first, np.ndarray):
        return first.dtype == second.dtype and np.array_equal(first, second)
    if isinstance(first, dict):
        return list(first) == list(second) and all(same(first[key], second[key]) for key in first)
    if isinstance(first, list | tuple | deque):
        return len(first) == len(second) and all(map(same, first, second))
    return repr(first) == repr(second)


VALUES: list[Any] = [
    None, True, 7, -1, 2**130, 0.1, -0.0, math.inf, -math.inf, math.nan, "ü\n", b"\x00\xff",
    [1, (2.5, [None])], (), {}, {1: "int", "1": "str", None: 0, (1, 2): "tuple"}, {True: "bool", 2.5: "float"},
    OrderedDict(b=1, a=2), Counter("aab"), {3, 1, 2}, frozenset({"x"}), deque([1, 2]), torch.Size([2, 3]),
    torch.tensor([1.5, math.nan]).bfloat16(), torch.tensor(3), torch.empty(0, 4), torch.tensor([True, False]),
    torch.arange(6).reshape(2, 3).T, torch.tensor([1 + 2j]), torch.tensor([1.0]).to(torch.float8_e4m3fn),
    np.arange(5, dtype=np.uint32), np.array(2.5), np.float32(1.25), np.int64(3), np.bool_(True),
    {"a": {0: torch.ones(2), "0": torch.zeros(2)}, "a/0": torch.full((2,), 2.0)},
]  # fmt: skip


@pytest.mark.parametrize("n", [1, 2, 3, 7, 255, 256, 257, 5000, 65537, 300_000])
@pytest.mark.parametrize("bits", [64, 40, 20, 8, 1, 0])
def test_the_order_of_an_epoch_is_the_stable_order_of_its_keys(n: int, bits: int) -> None:
    keys = np.random.PCG64(n + bits).random_raw(n)
    high = keys if bits == 64 else keys >> np.uint64(1) >> np.uint64(63 - bits)
    for few in (high, keys & np.uint64((1 << bits) - 1)):
        assert np.array_equal(_sort_stably(few), np.argsort(few, kind="stable"))
    assert np.array_equal(epoch_permutation(n, 3, n)[:9], np.argsort(_raw(n, 3, n), kind="stable")[:9])


def _raw(seed: int, epoch: int, n: int) -> np.ndarray:
    return np.random.PCG64(derive_seed(seed, epoch, 0, "permutation")).random_raw(n)


@pytest.mark.parametrize("value", VALUES, ids=lambda value: repr(value)[:30])
def test_values_come_back_as_they_were(value: Any) -> None:
    encoder = Encoder()
    tree = encoder.encode(value, "x")
    decoder = Decoder(dict(encoder.tensors))
    back = decoder.decode(tree)
    assert type(back) is type(value)
    assert same(back, value)
    assert not decoder.unused


def test_objects_that_would_need_code_are_refused_by_place() -> None:
    with pytest.raises(CheckpointError, match=r"The state at box/inner/0 holds a builtins\.object"):
        capture_state({"box": {"inner": [object()]}})


def net(dtype: torch.dtype) -> tuple[torch.nn.Module, torch.optim.Optimizer]:
    model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Dropout(0.5)).to(dtype)
    return model, torch.optim.Adam(model.parameters(), lr=0.01, amsgrad=True)


def advance(model: torch.nn.Module, optimizer: torch.optim.Optimizer, dtype: torch.dtype) -> None:
    optimizer.zero_grad()
    noise = random.random() + float(np.random.rand())
    (model(torch.randn(3, 4).to(dtype)).square().sum() * noise).backward()
    optimizer.step()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_adam_and_all_generators_round_trip(dtype: torch.dtype) -> None:
    seed_all(1)
    mine, numpy_mine = torch.Generator().manual_seed(5), np.random.default_rng(3)
    model, optimizer = net(dtype)
    objects = {
        "model": model,
        "optimizer": optimizer,
        "torch": mine,
        "numpy": numpy_mine,
        "cursor": {"at": 3},
    }
    advance(model, optimizer, dtype)
    kept = capture_state(objects)
    before = kept.digest()
    advance(model, optimizer, dtype)
    expected = [random.random(), np.random.rand(), torch.rand(1).item(), torch.rand(1, generator=mine).item()]
    expected.append(numpy_mine.random())
    after = {name: parameter.clone() for name, parameter in model.named_parameters()}
    assert kept.digest() == before, "a snapshot does not change with its objects"

    seed_all(99)
    model, optimizer = net(dtype)
    mine, numpy_mine = torch.Generator(), np.random.default_rng(0)
    cursor: dict[str, Any] = {"at": 0, "other": 1}
    restore_state(kept, {"model": model, "optimizer": optimizer, "torch": mine, "numpy": numpy_mine, "cursor": cursor})
    assert cursor == {"at": 3}
    advance(model, optimizer, dtype)
    assert all(torch.equal(parameter, after[name]) for name, parameter in model.named_parameters())
    got = [random.random(), np.random.rand(), torch.rand(1).item(), torch.rand(1, generator=mine).item()]
    assert [*got, numpy_mine.random()] == expected


@pytest.mark.parametrize(
    ("scheduler", "arguments"),
    [
        ("MultiStepLR", {"milestones": [2, 2, 5]}),
        ("LambdaLR", {"lr_lambda": lambda step: 0.9**step}),
        ("ReduceLROnPlateau", {}),
    ],
)
def test_schedulers(scheduler: str, arguments: dict[str, Any]) -> None:
    _, optimizer = net(torch.float32)
    kept = capture_state({"schedule": getattr(torch.optim.lr_scheduler, scheduler)(optimizer, **arguments)})
    restore_state(kept, {"schedule": getattr(torch.optim.lr_scheduler, scheduler)(optimizer, **arguments)})


def test_names_must_agree() -> None:
    kept = capture_state({"model": torch.nn.Linear(1, 1), "old": {}})
    with pytest.raises(CheckpointError, match="holds old, which this run does not have; it lacks new, which this run"):
        restore_state(kept, {"model": torch.nn.Linear(1, 1), "new": {}})
    with pytest.raises(ValueError, match="may not be called 'rng'"):
        capture_state({"rng": {}})


def test_another_shape_is_refused() -> None:
    kept = capture_state({"model": torch.nn.Linear(2, 1)})
    with pytest.raises(CheckpointError, match=r"(?s)`model` refused its stored state: .*size mismatch"):
        restore_state(kept, {"model": torch.nn.Linear(3, 1)})


class Forgetful:
    def __init__(self) -> None:
        self.count = 0

    def state_dict(self) -> dict[str, int]:
        return {"count": self.count}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Restores nothing."""


def test_a_state_that_does_not_come_back_is_found_at_once() -> None:
    counter = Forgetful()
    counter.count = 4
    with pytest.raises(
        CheckpointError, match=r"did not come back as it was stored: value counter/count \(4 became 0\)"
    ):
        restore_state(capture_state({"counter": counter}), {"counter": Forgetful()})


def test_difference_names_tensor_and_value() -> None:
    one, two = {"a": torch.ones(2), "b": {"lr": 0.1}}, {"a": torch.zeros(2), "b": {"lr": 0.2}}
    first, second = capture_state({"x": one}), capture_state({"x": two})
    found = compare_states(first.tree, first.digests(), second.tree, second.digests())
    assert found == ["tensor x/a", "value x/b/lr (0.1 became 0.2)"]


def test_streams_are_functions_of_their_key() -> None:
    keys = [(seed, step, shard, p) for seed in (0, 1) for step in (0, 1) for shard in (0, 1) for p in ("a", "b")]
    assert len({derive_seed(*key) for key in keys}) == len(keys)
    assert derive_seed(0, 1, 2, "dropout") == 1934377657416041778
    assert torch.equal(
        torch.rand(3, generator=torch_generator(1, 2, 3, "x")), torch.rand(3, generator=torch_generator(1, 2, 3, "x"))
    )
    assert numpy_generator(1, 2, 3, "x").random() == numpy_generator(1, 2, 3, "x").random()


@pytest.mark.parametrize(("n", "batch"), [(10, 3), (10, 10), (3, 8), (1, 2)])
def test_sample_ids_visit_every_sample_once_per_epoch(n: int, batch: int) -> None:
    flat = np.concatenate([sample_ids(5, step, batch, n) for step in range(1, 3 * n + 1)])
    for epoch in range(3):
        block = flat[epoch * n : (epoch + 1) * n]
        assert sorted(block) == list(range(n))
        assert np.array_equal(block, epoch_permutation(5, epoch, n))


def test_sample_ids_refuse_nonsense() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        sample_ids(0, 0, 4, 10)
