"""Preempted on one machine, gone on from on another that shares no disk with it: the same bytes."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path

import pytest

from tests.support import workspace
from tests.support.stage_interruptions import finish, interrupt
from tests.support.workspace import ITEM, TRAIN, Workspace

Machines = tuple[Workspace, Workspace]


@pytest.fixture
def machines(prepared: Workspace, tmp_path: Path) -> Machines:
    """Two clones with prepared data and one DVC remote."""
    one = workspace.copy(prepared, tmp_path / "one")
    one.dvc("remote", "add", "--default", "store", str(tmp_path / "remote"))
    return one, workspace.copy(one, tmp_path / "two")


def starts(place: Workspace) -> int:
    """Starts in the execution record of the item's one run folder."""
    (folder,) = place.state()
    return (folder / "events.jsonl").read_text().count('"event": "start"')


def test_a_preempted_item_goes_on_on_another_machine(machines: Machines, uninterrupted: Workspace) -> None:
    one, two = machines
    interrupt(one, 7, signal.SIGTERM)
    (folder,) = one.state()
    durable = json.loads((folder / "verdict.json").read_text())["step"]
    assert f"{ITEM}: step {durable} is parked in store" in one.run("latentwire", "park", "--all")
    shutil.rmtree(one.root / "state")
    assert f"{ITEM}: step {durable} fetched to" in two.run("latentwire", "fetch", ITEM)
    assert f"{durable}/30" in two.run("latentwire", "status", COLUMNS="200")
    assert finish(two) == durable
    assert two.results() == uninterrupted.results()
    assert starts(two) == 2


@pytest.mark.slow
def test_parked_while_it_trains(machines: Machines, uninterrupted: Workspace) -> None:
    one, two = machines
    process = one.start_stage(*TRAIN)
    one.wait_for_step(process, 6)
    parked = one.run("latentwire", "park", ITEM)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    assert one.results() == uninterrupted.results()
    assert "is parked in store" in parked
    two.run("latentwire", "fetch", ITEM)
    finish(two)
    assert two.results() == uninterrupted.results()
