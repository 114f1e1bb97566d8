"""What an edit of the code makes stale: nothing, where it changes words or what only carries a result."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import workspace
from tests.support.workspace import ITEM, Workspace

RESULTS = ("results", "reports")


STATEMENT = "\nEDITED = True\n"
WORDS = "\n# Said in another way.\n"
CARRYING = (
    "unbroken/checkpoint/writer.py",
    "unbroken/launcher/launch.py",
    "unbroken/prove/certificate.py",
    "unbroken/run.py",
    "latentwire/console/progress.py",
    "latentwire/tracking/mirror.py",
    "latentwire/verification/verify.py",
)
DEFINING = (
    "latentwire/models/wire.py",
    "latentwire/pipeline/evaluate.py",
    "latentwire/reporting/figures.py",
    "latentwire/statistics/summary.py",
    "latentwire/tasks/splits.py",
    "latentwire/training/objective.py",
    "unbroken/exact/fold.py",
)


@pytest.fixture
def place(finished: Workspace, tmp_path: Path) -> Workspace:
    """A finished pipeline whose code may be edited."""
    return workspace.copy(finished, tmp_path / "repo")


def edit(place: Workspace, name: str, change: Callable[[str], str]) -> None:
    path = place.root / "src" / name
    before = path.read_text()
    path.write_text(change(before))
    assert path.read_text() != before


def test_what_only_carries_leaves_a_finished_pipeline_clean(place: Workspace) -> None:
    for name in CARRYING:
        edit(place, name, lambda text: text + STATEMENT)
    assert "up to date" in place.dvc("status")


def test_changed_words_of_the_science_end_in_seconds_with_the_same_bytes(finished: Workspace, place: Workspace) -> None:
    for name in DEFINING:
        edit(place, name, lambda text: text.replace('"""', '"""In other words: ', 1) + WORDS)
    assert set(json.loads(place.dvc("status", "--json"))) == {"code"}
    begun = time.monotonic()
    said = place.dvc("repro")
    assert time.monotonic() - begun < 60
    assert re.findall(r"Running stage '(\S+)'", said) == ["code"]
    assert place.results(RESULTS) == finished.results(RESULTS)
    assert "up to date" in place.dvc("status")


@pytest.mark.parametrize("name", DEFINING)
def test_whatever_the_science_does_is_stale_after_an_edit(name: str, place: Workspace) -> None:
    before = place.results(["results/code"])
    edit(place, name, lambda text: text + STATEMENT)
    place.stage("code")
    assert place.results(["results/code"]) != before


def test_a_changed_loss_trains_again(finished: Workspace, place: Workspace) -> None:
    edit(place, "latentwire/training/objective.py", lambda text: text.replace(".sum(dim=0)", ".sum(dim=0) * 2.0"))
    said = place.dvc("repro", f"train@{ITEM}")
    assert re.findall(r"Running stage '(\S+)'", said) == ["code", f"train@{ITEM}"]
    manifest = f"results/train/{ITEM}/manifest.json"
    before, after = (json.loads((at.root / manifest).read_text()) for at in (finished, place))
    assert before["identity"] != after["identity"]
    assert before["state"] != after["state"]
    assert f"The state in state/{ITEM}-{before['identity'][:12]} is not used" in said
    assert "code.latentwire.training.objective" in said


def test_a_stage_that_is_asked_for_alone_after_an_edit_says_so_and_changes_nothing(place: Workspace) -> None:
    edit(place, "latentwire/reporting/paper.py", lambda text: text + STATEMENT)
    before = place.results(RESULTS), (place.root / "dvc.lock").read_bytes()
    said = place.dvc("repro", "--force", "--single-item", "report", code=255)
    assert "report.json is not of the code that runs here" in said
    assert (place.root / "dvc.lock").read_bytes() == before[1]
    place.dvc("repro", "code")
    place.dvc("repro", "--force", "--single-item", "report")
    assert (place.root / "results/code/report.json").read_bytes() != before[0]["results/code/report.json"]
    assert "up to date" in place.dvc("status")


def test_a_training_whose_words_changed_goes_on_from_its_checkpoint(prepared: Workspace, tmp_path: Path) -> None:
    place = workspace.copy(prepared, tmp_path / "repo")
    place.stage(*workspace.TRAIN, code=75, UNBROKEN_INTERRUPT="TERM@7")
    path = place.root / "src/latentwire/training/loop.py"
    path.write_text(path.read_text().replace('"""', '"""In other words: ', 1))
    assert "Going on from step 7" in place.stage(*workspace.TRAIN)
    assert len(place.state()) == 1
