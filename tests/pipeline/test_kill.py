"""The real train stage, stopped and killed: the next start ends in the bytes of a run that nothing disturbed."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.stage_interruptions import STEPS, finish, interrupt
from tests.support.workspace import ITEM, TRAIN, Workspace


def a_step() -> int:
    """A random step that is not the last; pytest shows it when the test fails."""
    return random.randrange(2, STEPS - 4)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_stopped_once(number: signal.Signals, fresh: Callable[..., Workspace], uninterrupted: Workspace) -> None:
    place, step = fresh(), a_step()
    interrupt(place, step, number)
    # A save goes on beside the steps: a kill may take the newest one with it, never the one before.
    assert finish(place) >= (step if number == signal.SIGTERM else step - step % 5 - 5)
    assert place.results() == uninterrupted.results()


def test_stopped_and_killed_in_one_run(fresh: Callable[..., Workspace], uninterrupted: Workspace) -> None:
    place = fresh()
    first, second = sorted(random.sample(range(2, STEPS - 4), 2))
    interrupt(place, first, signal.SIGTERM)
    interrupt(place, second, signal.SIGKILL)
    finish(place)
    assert place.results() == uninterrupted.results()


def test_stopped_during_import(fresh: Callable[..., Workspace], uninterrupted: Workspace) -> None:
    place = fresh()
    process = place.start_stage(*TRAIN)
    handler = f"/proc/{process.pid}/status"
    while process.poll() is None and not _catches_term(Path(handler).read_text()):
        pass
    process.terminate()
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 75, output
    assert place.steps_done() == 0
    finish(place)
    assert place.results() == uninterrupted.results()


def _catches_term(status: str) -> bool:
    caught = int(re.search(r"SigCgt:\s*([0-9a-f]+)", status)[1], 16)  # type: ignore[index]
    return bool(caught >> (signal.SIGTERM - 1) & 1)


def test_through_dvc(fresh: Callable[..., Workspace], uninterrupted: Workspace) -> None:
    place = fresh()
    dvc = place.start("dvc", "repro", f"train@{ITEM}")
    place.wait_for_step(dvc, a_step())
    os.kill(_trainer(dvc.pid), signal.SIGTERM)
    output, _ = dvc.communicate(timeout=120)
    assert dvc.returncode == 255, output
    assert "exited with 75" in output
    verdict = place.state()[0] / "verdict.json"
    assert json.loads(verdict.read_text())["exit"] == 75
    assert "Going on from step" in place.dvc("repro", f"train@{ITEM}")
    assert place.results() == uninterrupted.results()


def _trainer(parent: int) -> int:
    children = subprocess.run(["pgrep", "-P", str(parent)], capture_output=True, text=True, check=True).stdout.split()
    commands = {int(pid): Path(f"/proc/{pid}/cmdline").read_text() for pid in children}
    return next(pid for pid, command in commands.items() if "latentwire.stages.train" in command)


def test_a_finished_run_started_again_trains_nothing(fresh: Callable[..., Workspace], uninterrupted: Workspace) -> None:
    place = fresh()
    place.stage(*TRAIN)
    before = place.results()
    for path in before:
        (place.root / path).unlink()
    assert finish(place) == STEPS
    assert place.results() == before == uninterrupted.results()


def test_a_damaged_newest_checkpoint_costs_steps_only(
    fresh: Callable[..., Workspace], uninterrupted: Workspace
) -> None:
    place = fresh()
    interrupt(place, 13, signal.SIGTERM)
    checkpoints = sorted((place.state()[0] / "checkpoints").glob("step-*"))
    newest = checkpoints[-1] / "tensors.safetensors"
    data = bytearray(newest.read_bytes())
    data[-3] ^= 1
    newest.write_bytes(data)
    assert finish(place) == int(checkpoints[-2].name.removeprefix("step-"))
    assert len(list(newest.parent.parent.glob("bad-*"))) == 1
    assert place.results() == uninterrupted.results()
