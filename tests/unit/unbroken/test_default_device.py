"""A program may make another device torch's default: what holds stored bytes stays in the processor's memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from tests.support.thread_group import ThreadGroup
from tests.unit.unbroken.test_state_stream import attempt_on_threads
from unbroken.checkpoint.buffers import Buffer
from unbroken.checkpoint.state import capture_state
from unbroken.preemption import StopFlag
from unbroken.processes import per_rank
from unbroken.processes.sync import broadcast_state
from unbroken.run import Run
from unbroken.run_folder.identity import Identity

OTHER = torch.device("meta")
"""A GPU's stand-in: what is made there by mistake has no bytes."""


def make_state(value: float) -> dict[str, Any]:
    """Weights and moments of the processor."""
    with torch.device("cpu"):
        model = torch.nn.Linear(3, 2)
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
        for parameter in model.parameters():
            torch.nn.init.constant_(parameter, value)
        model(torch.ones(1, 3)).sum().backward()
        optimizer.step()
    return {"model": model, "optimizer": optimizer}


def train(folder: Path, state: dict[str, Any], steps: int) -> int:
    """Save each step, with the other device as the default one; the first step that is done."""
    done = []
    with (
        OTHER,
        Run(folder, identity=Identity({}), state=state, stop=StopFlag(), every=1, report=lambda _: None) as run,
    ):
        for step in run.steps(steps):
            with torch.no_grad():
                state["model"].weight.add_(1.0)
            run.log(loss=float(step))
            done.append(step)
    return done[0]


def test_a_run_is_saved_and_resumed(tmp_path: Path) -> None:
    first, second, whole = make_state(0.0), make_state(7.0), make_state(0.0)
    assert train(tmp_path / "run", first, 2) == 1
    assert train(tmp_path / "run", second, 4) == 3, "the second goes on where the first has ended"
    assert train(tmp_path / "whole", whole, 4) == 1
    assert digest(second) == digest(whole)
    assert torch.equal(second["model"].weight, whole["model"].weight)


def test_a_copy_of_the_state() -> None:
    live = capture_state(make_state(2.0), copy=False)
    with OTHER:
        copied = Buffer().fill(live)
    assert {tensor.device.type for tensor in copied.tensors.values()} == {"cpu"}
    assert copied.digests() == live.digests()


def test_the_state_of_rank_0_reaches_another() -> None:
    states = [make_state(float(rank)) for rank in range(2)]

    def receive(group: ThreadGroup) -> int:
        with OTHER:
            return broadcast_state(group, 3, states[group.rank])

    assert attempt_on_threads(2, receive) == [3, 3]
    assert digest(states[1]) == digest(states[0])


def test_the_states_of_single_ranks() -> None:
    content = bytearray(torch.tensor([1.0, 2.0]).numpy().tobytes())
    with OTHER:
        snapshot = per_rank._cut_content({"tensors": [["a", "F32", [2]]], "tree": {}}, content)
    assert snapshot.tensors["a"].tolist() == [1.0, 2.0]


def digest(state: dict[str, Any]) -> dict[str, str]:
    """Without the global generators."""
    return {name: found for name, found in capture_state(state).digests().items() if not name.startswith("rng")}
