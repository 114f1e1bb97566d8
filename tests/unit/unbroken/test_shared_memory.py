"""Memory that several values have in common since a step of the loop is common after a resume too."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.unit.unbroken.test_restore_in_place import Step, assert_resumes_exactly, descend, inputs
from unbroken.checkpoint.state import capture_state, restore_state
from unbroken.checkpoint.traits import TRAITS, LiveState
from unbroken.errors import CheckpointError

Change = Callable[[dict[str, Any], int], None]


def build_trained(change: Change) -> tuple[dict[str, Any], Step]:
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 1))
    average = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    state: dict[str, Any] = {"model": model, "average": average, "optimizer": optimizer, "box": {}, "other": {}}

    def step(number: int) -> float:
        loss = descend(model(inputs(number, 5, 3)).square().mean(), optimizer)
        change(state, number)
        return loss

    return state, step


def keep_state_dict(state: dict[str, Any], number: int) -> None:
    """The best weights, as many keep them: without a copy, so that they are always those of now."""
    if number == 3:
        state["box"]["best"] = state["model"].state_dict()


def keep_and_copy(state: dict[str, Any], number: int) -> None:
    keep_state_dict(state, number)
    if number == 6:
        state["box"]["best"] = {name: value.clone() for name, value in state["box"]["best"].items()}


def assign(state: dict[str, Any], number: int) -> None:
    if number == 3:
        state["average"].load_state_dict(state["model"].state_dict(), assign=True)
    if number == 6:
        state["average"][0].weight.data = state["average"][0].weight.data.clone()


def keep_part(state: dict[str, Any], number: int) -> None:
    if number == 3:
        state["box"]["row"] = state["model"][0].weight.detach()[1:3]
        state["other"]["bias"] = state["model"][0].bias.data


def keep_momentum(state: dict[str, Any], number: int) -> None:
    if number == 2:
        (first, *_) = state["optimizer"].state.values()
        state["box"]["momentum"] = [first["momentum_buffer"]]


def tie_parts(state: dict[str, Any], number: int) -> None:
    if number == 1:
        state["other"]["whole"] = torch.zeros(6)
    if number == 3:
        state["box"]["tail"] = state["other"]["whole"][2:]
    state["other"]["whole"] += number
    state["box"].get("tail", torch.zeros(1)).mul_(0.5)


@pytest.mark.parametrize(
    "change",
    [keep_state_dict, keep_and_copy, assign, keep_part, keep_momentum, tie_parts],
    ids=lambda change: change.__name__,
)
def test_between_parts_of_the_state(change: Change, tmp_path: Path) -> None:
    assert_resumes_exactly(lambda: build_trained(change), tmp_path)


def slice_array(box: dict[str, Any], number: int) -> None:
    if number == 3:
        box["recent"] = deque([box["array"][2:5], (box["array"][::2], 1)], maxlen=3)
    box["array"] += number
    if number > 3:
        box["recent"][0][:] *= 0.5
        box["recent"][1][0][:] += 1


def wrap_array(box: dict[str, Any], number: int) -> None:
    if number == 3:
        box["wrapped"] = torch.from_numpy(box["array"])[3:]
    box["array"] += number
    box.get("wrapped", torch.zeros(1)).mul_(0.5)


def open_tensor(box: dict[str, Any], number: int) -> None:
    if number == 3:
        box["opened"] = [box["tensor"].numpy()[1:]]
    box["tensor"] += number
    if number > 3:
        box["opened"][0] *= 0.5


def read_bits(box: dict[str, Any], number: int) -> None:
    if number == 3:
        box["bits"] = box["tensor"].view(torch.int32)
    box["tensor"] += number / 3
    box.get("bits", torch.zeros(1, dtype=torch.int32)).bitwise_and_(-2)


def transpose_array(box: dict[str, Any], number: int) -> None:
    if number == 3:
        box["table"] = np.asfortranarray(np.ones((2, 3)))
        box["column"] = box["table"][:, 1]
    if number > 3:
        box["table"] += number
        box["column"] *= 0.5


@pytest.mark.parametrize(
    "change",
    [slice_array, wrap_array, open_tensor, read_bits, transpose_array],
    ids=lambda change: change.__name__,
)
def test_of_arrays_and_tensors(change: Change, tmp_path: Path) -> None:
    def build() -> tuple[dict[str, Any], Step]:
        box: dict[str, Any] = {"array": np.arange(8.0), "tensor": torch.arange(8.0)}

        def step(number: int) -> float:
            change(box, number)
            return float(box["array"].sum() + box["tensor"].sum())

        return {"box": box}, step

    assert_resumes_exactly(build, tmp_path)


def torch_parts(box: dict[str, Any], first: Any, second: Any) -> None:
    whole = torch.arange(16.0).view(4, 4)
    box.update(first=whole[first], second=whole[second])


def array_parts(box: dict[str, Any], first: Any, second: Any) -> None:
    whole = np.arange(16.0).reshape(4, 4)
    box.update(first=whole[first], second=whole[second])


ALL = slice(None)
CUTS = {
    "columns": ((ALL, slice(2)), (ALL, slice(1, 4))),
    "each second row": (slice(None, None, 2), slice(1, None)),
    "one in the other": (slice(None, None, 2), (slice(None, None, 2), slice(1, 3))),
    "ends of two": (slice(3), slice(1, None)),
}


@pytest.mark.parametrize("cut", CUTS.values(), ids=CUTS)
@pytest.mark.parametrize("make", [torch_parts, array_parts], ids=lambda make: make.__name__)
def test_parts_of_what_nobody_holds_whole_are_refused_in_the_step_that_makes_them(make: Any, cut: Any) -> None:
    state = LiveState(box={})
    capture_state(state)
    make(state["box"], *cut)
    with pytest.raises(CheckpointError, match=r"box/\w+ and box/\w+ have memory in common .* no part .* Next: "):
        capture_state(state)
    state["box"]["second"] = state["box"]["second"] + 0
    capture_state(state)


@pytest.mark.parametrize("cut", CUTS.values(), ids=CUTS)
@pytest.mark.parametrize("make", [torch_parts, array_parts], ids=lambda make: make.__name__)
def test_parts_that_the_program_builds_are_exact_until_they_are_parted(make: Any, cut: Any, tmp_path: Path) -> None:
    def build() -> tuple[dict[str, Any], Step]:
        box: dict[str, Any] = {}
        make(box, *cut)

        def step(number: int) -> float:
            box["first"] += number
            box["second"] *= 0.5
            return float(box["first"].sum())

        return {"box": box}, step

    assert_resumes_exactly(build, tmp_path, stops=(4,))
    state = LiveState(build()[0])
    capture_state(state)
    state["box"]["second"] = state["box"]["second"] + 0
    with pytest.raises(CheckpointError, match="have memory in common"):
        capture_state(state)


def test_columns_that_lie_between_each_other_have_nothing_in_common() -> None:
    state, fresh = LiveState(box={}), LiveState(box={})
    capture_state(state)
    torch_parts(state["box"], (ALL, slice(None, None, 2)), (ALL, slice(1, None, 2)))
    restore_state(capture_state(state), fresh)
    assert torch.equal(fresh["box"]["second"], state["box"]["second"])


def test_one_rate_of_several_groups_stays_one() -> None:
    def build() -> LiveState:
        rate, groups = torch.tensor(0.5), [{"params": [torch.nn.Parameter(torch.ones(1))]} for _ in range(2)]
        return LiveState(optimizer=torch.optim.SGD(groups, lr=rate))

    trained, fresh = build(), build()
    capture_state(trained)
    trained["optimizer"].param_groups[0]["lr"].fill_(0.25)
    kept = capture_state(trained)
    assert TRAITS not in kept.tree
    restore_state(kept, fresh)
    fresh["optimizer"].param_groups[0]["lr"].fill_(0.125)
    assert fresh["optimizer"].param_groups[1]["lr"] == 0.125
