"""A loop that changes what its program builds is told so at the next save, and a refused resume says what differs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from unbroken.checkpoint.state import capture_state, restore_state
from unbroken.errors import CheckpointError, UnbrokenError
from unbroken.exact.randomness import seed_all
from unbroken.preemption import StopFlag
from unbroken.run import Run
from unbroken.run_folder.events import read_events
from unbroken.run_folder.identity import Identity

State = dict[str, Any]


def build() -> State:
    seed_all(0)
    body, head = torch.nn.Sequential(torch.nn.Linear(1, 2)), torch.nn.Linear(2, 1)
    body.register_buffer("mean", None)
    optimizer = torch.optim.SGD(body.parameters(), lr=0.1, momentum=0.9)
    return {"body": body, "head": head, "optimizer": optimizer, "history": {"values": []}}


def add_group(state: State) -> None:
    state["optimizer"].add_param_group({"params": list(state["head"].parameters())})


def add_layer(state: State) -> None:
    state["body"].append(torch.nn.Linear(2, 2))


def change_shape(state: State) -> None:
    state["body"][0].weight = torch.nn.Parameter(torch.zeros(3, 1))


def fill_buffer(state: State) -> None:
    state["body"].mean = torch.zeros(2)


def grow_values(state: State) -> None:
    """No change of structure: state of an optimizer that comes late, and values of any form."""
    state["body"](torch.ones(1, 1)).sum().backward()
    state["optimizer"].step()
    state["history"]["values"] += [torch.zeros(len(state["history"]["values"])), {"a": 1}]
    state["body"][0].weight.requires_grad_(False)


def go(folder: Path, change: Callable[[State], None], steps: int, *, before: bool = False) -> list[str]:
    """Change the state in step 3, or `before` the run is entered; returns what was said."""
    said: list[str] = []
    state = build()
    if before:
        change(state)
    options: dict[str, Any] = {"identity": Identity({}), "every": 2, "background": False, "numerics": {}}
    with Run(folder, state=state, stop=StopFlag(9.0), report=said.append, **options) as run:
        for step in run.steps(steps):
            if step == 3:
                change(state)
    return said


def freeze(state: State) -> None:
    state["body"][0].weight.requires_grad_(False)
    state["head"].requires_grad_(False)
    state["head"].eval()


CHANGES = {
    add_group: ("optimizer/param_groups", "groups of 2 parameters", "groups of 2 + 2 parameters"),
    add_layer: ("body/1.bias", "nothing", "2"),
    change_shape: ("body/0.weight", "2 x 1", "3 x 1"),
    fill_buffer: ("body/mean", "nothing", "2"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_structure_is_said_at_the_next_save_and_when_it_is_refused(
    change: Callable[[State], None], tmp_path: Path
) -> None:
    place, built, now = CHANGES[change]
    (sentence,) = go(tmp_path, change, 6)  # saves in 4 and 6
    assert (
        f"The save of step 4 does not fit what the program built at its start: {place} ({built} and {now})" in sentence
    )
    assert "Next: build all of it before `with Run(…)`" in sentence
    (event,) = [event for event in read_events(tmp_path / "events.jsonl") if event["event"] == "structure"]
    assert (event["step"], event["changed"].split(" ")[0]) == (4, f"{place}")
    with pytest.raises(CheckpointError) as refusal:
        go(tmp_path, change, 8)
    assert f"Stored and built differ at {place} ({now} and {built})" in str(refusal.value)
    assert Run.peek(tmp_path).step == 6
    assert len(go(tmp_path, change, 8, before=True)) == 1  # built as it was stored: it goes on, and says no more


def test_values_that_grow_are_no_change_of_structure(tmp_path: Path) -> None:
    assert go(tmp_path, grow_values, 6) == []
    assert len(go(tmp_path, grow_values, 8)) == 1


@pytest.mark.parametrize("change", [add_group, freeze])
def test_what_is_built_as_it_was_stored_goes_on_in_the_same_bytes(
    change: Callable[[State], None], tmp_path: Path
) -> None:
    straight, resumed = tmp_path / "straight", tmp_path / "resumed"
    go(straight, change, 8)
    go(resumed, change, 6)
    go(resumed, change, 8, before=True)
    manifests = [(folder / "checkpoints/step-00000008/manifest.json").read_bytes() for folder in (straight, resumed)]
    assert manifests[0] == manifests[1]


def test_a_sentence_of_a_load_state_dict_stays_as_it_is() -> None:
    class Refuses:
        def state_dict(self) -> State:
            return {}

        def load_state_dict(self, _state: State) -> None:
            raise UnbrokenError("Too few. Next: start two.")

    with pytest.raises(UnbrokenError, match=r"^Too few\. Next: start two\.$"):
        restore_state(capture_state({"ranks": Refuses()}), {"ranks": Refuses()})
