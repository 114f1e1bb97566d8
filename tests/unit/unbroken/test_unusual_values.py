"""Values and holders that are rare: they come back exactly, or are refused by the name of their place."""

from __future__ import annotations

import datetime
import enum
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from unbroken.checkpoint.reading import load_checkpoint
from unbroken.checkpoint.state import capture_state, restore_state
from unbroken.errors import CheckpointError
from unbroken.preemption import StopFlag
from unbroken.run import Run
from unbroken.run_folder.identity import Identity

WIDE = 10**4300  # the first that Python does not print


def save(folder: Path, state: dict[str, Any]) -> Run:
    options: dict[str, Any] = {"identity": Identity({}), "background": False, "numerics": {}}
    with Run(folder, state=state, stop=StopFlag(9.0), report=lambda _: None, **options) as run:
        list(run.steps(1))
    return run


def test_integers_of_any_size_come_back(tmp_path: Path) -> None:
    value = {"one": WIDE, "list": [1, -WIDE], "mixed": [None, WIDE], "set": {WIDE}, WIDE: {(1, WIDE): [0.5]}}
    run = save(tmp_path, {"box": dict(value)})
    empty: dict[str, Any] = {"box": {}}
    assert save(tmp_path, empty).step == 1
    assert empty["box"] == value == load_checkpoint(run.final).state("box")


def test_an_integer_that_can_be_printed_is_stored_as_it_always_was() -> None:
    (_, stored), *_ = capture_state({"box": {"a": 10**4299}}).tree["box"]["items"]
    assert stored == 10**4299


@pytest.mark.parametrize("make", [random.Random, np.random.RandomState], ids=lambda make: make.__name__)
def test_generators_of_the_standard_library_and_of_old_numpy_are_parts(make: Any, tmp_path: Path) -> None:
    used, fresh = make(1), make(2)
    used.normal() if hasattr(used, "normal") else used.gauss(0, 1)  # keeps a second number for the next call
    save(tmp_path, {"noise": used})
    save(tmp_path, {"noise": fresh})
    draw = (lambda g: g.normal()) if hasattr(used, "normal") else (lambda g: g.gauss(0, 1))
    assert [draw(used) for _ in range(3)] == [draw(fresh) for _ in range(3)]


@pytest.mark.parametrize(
    "value",
    [[1], (1,), 1, "a", torch.zeros(1), torch.nn.Parameter(torch.zeros(1)), np.zeros(1), {1}, random.SystemRandom()],
    ids=lambda value: type(value).__name__,
)
def test_what_is_no_part_is_refused_with_a_way_out(value: Any, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=rf"The state g is a .*{type(value).__name__}, expected .* Next: put it"):
        save(tmp_path, {"g": value})


Color = enum.Enum("Color", ["RED"])


@pytest.mark.parametrize(
    "value", [Color.RED, Path("a"), datetime.date(2026, 1, 1), 1j], ids=lambda value: type(value).__name__
)
def test_values_that_are_no_data_are_refused_at_the_start_by_their_place(value: Any, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"The state at box/list/1 holds a .* Next: keep it out"):
        save(tmp_path, {"box": {"list": [0, value]}})
    assert not list((tmp_path / "checkpoints").glob("*")) if (tmp_path / "checkpoints").exists() else True


@pytest.mark.parametrize(
    "generator",
    [torch.Generator(), np.random.default_rng(0), np.random.RandomState(0), random.Random(0)],
    ids=lambda generator: type(generator).__name__,
)
def test_a_generator_inside_a_dict_is_told_where_it_belongs(generator: Any) -> None:
    with pytest.raises(CheckpointError, match=r"The state at box/noise holds a .* Next: give the generator a name of"):
        capture_state({"box": {"noise": generator}})


def test_reading_leaves_a_generator_of_the_state_where_it_was() -> None:
    class Draws:
        def state_dict(self) -> dict[str, Any]:
            return {"drawn": noise.random() < 2}

        def load_state_dict(self, state: dict[str, Any]) -> None:
            pass

    noise = random.Random(0)
    before = noise.getstate()
    restore_state(capture_state({"draws": Draws(), "noise": noise}), {"draws": Draws(), "noise": noise})
    assert noise.getstate() == before


def test_the_children_of_a_generator_go_on_where_they_were(tmp_path: Path) -> None:
    used, fresh, ahead = (np.random.default_rng(1) for _ in range(3))
    used.spawn(2)
    ahead.spawn(5)
    save(tmp_path, {"noise": used})
    save(tmp_path, {"noise": fresh})
    following = [used.spawn(1)[0].random() for _ in range(2)]
    assert [fresh.spawn(1)[0].random() for _ in range(2)] == following
    if np.lib.NumpyVersion(np.__version__) < "2.0.0":
        with pytest.raises(
            CheckpointError, match=r"cannot give a generator the seeds .* Next: use numpy 2\.0 or newer"
        ):
            save(tmp_path, {"noise": ahead})
    else:
        save(tmp_path, {"noise": ahead})
        assert [ahead.spawn(1)[0].random() for _ in range(2)] == following


def test_a_generator_without_children_is_stored_as_it_always_was() -> None:
    tree = capture_state({"noise": np.random.default_rng(1)}).tree["noise"]
    assert [key for key, _ in tree["items"]] == ["bit_generator", "state", "has_uint32", "uinteger"]


@pytest.mark.parametrize(
    "make",
    [
        lambda key: {key: 1},
        lambda key: {(0, (key,)): 1},
        lambda key: {key},
        lambda key: {1, (key, 2)},
        lambda key: frozenset({key}),
        lambda key: {frozenset({key}): 1},
    ],
)
def test_what_is_found_by_its_identity_is_refused_at_the_start(make: Any, tmp_path: Path) -> None:
    """A dict by parameter, say, would have other keys after a resume."""
    with pytest.raises(CheckpointError, match=r"The state at box/a has a tensor as a key, .* Next: use numbers"):
        save(tmp_path, {"box": {"a": make(torch.nn.Parameter(torch.zeros(1)))}})


def test_the_bytes_of_a_set_do_not_depend_on_its_history(tmp_path: Path) -> None:
    """Numbers of numpy are stored as tensors, whose names follow from an order."""
    numbers = [np.int64(8), np.int64(16), (np.int64(0),)]  # of which the first two want one place
    first, second = set(numbers), {numbers[1], numbers[0], numbers[2]}
    assert list(first) != list(second)
    assert capture_state({"box": {"a": first}}).digest() == capture_state({"box": {"a": second}}).digest()
    save(tmp_path, {"box": {"a": first}})
    box: dict[str, Any] = {}
    save(tmp_path, {"box": box})
    assert box["a"] == first


@pytest.mark.parametrize(
    "value",
    [
        np.zeros(0),
        np.zeros((2, 0)),
        torch.zeros(0).as_strided((0,), (0,)),
        torch.ones(1, dtype=torch.float64).expand(1),
        np.broadcast_to(np.ones(()), (1,)).copy(),
    ],
    ids=lambda value: f"{type(value).__name__}{tuple(value.shape)}",
)
@pytest.mark.filterwarnings("ignore")
def test_nothing_and_one_element_may_have_any_stride(value: Any, tmp_path: Path) -> None:
    save(tmp_path, {"box": {"a": value}})
    box: dict[str, Any] = {"a": None}
    save(tmp_path, {"box": box})
    assert box["a"].shape == value.shape
    assert bool((box["a"] == value).all())


class FullPrecision(torch.optim.Optimizer):
    """Keeps what it trains in float32, a counter of bytes, and some of it nested, beside parameters in bfloat16."""

    def __init__(self, parameters: Any) -> None:
        super().__init__(parameters, {})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            for parameter in group["params"]:
                own = self.state[parameter]
                if not own:
                    own.update(master=parameter.float(), steps=torch.zeros(1, dtype=torch.uint8), past={"sums": [0.0]})
                own["master"] += torch.full_like(own["master"], 1 / 3)
                own["steps"] += 1
                own["past"]["sums"] = [own["master"].sum(), (own["master"] / 7,)]
                parameter.copy_(own["master"])


def test_an_optimizer_may_keep_more_precision_than_its_parameters(tmp_path: Path) -> None:
    """torch gives the state of an optimizer the dtype of the parameter when it is loaded."""

    def build() -> dict[str, Any]:
        model = torch.nn.Linear(2, 1, dtype=torch.bfloat16)
        return {"model": model, "optimizer": FullPrecision(model.parameters())}

    trained, fresh = build(), build()
    trained["optimizer"].step()
    save(tmp_path, trained)
    save(tmp_path, fresh)
    for state in (trained, fresh):
        state["optimizer"].step()
    assert capture_state(trained).digest() == capture_state(fresh).digest()
    (own, *_) = fresh["optimizer"].state.values()
    assert (own["master"].dtype, own["steps"].dtype) == (torch.float32, torch.uint8)
