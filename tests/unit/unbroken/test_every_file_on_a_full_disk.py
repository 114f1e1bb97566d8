"""Each file of a run on a disk that refuses: full, over its quota or broken, for a while or for good.

What the training ends in is the same; what is not written is said in a sentence; and an exit code 0 means that the
final checkpoint, its history and the export are whole.
"""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import pytest
import torch

from tests.support import toy_training
from tests.unit.unbroken.test_full_disk import tiny_mount
from unbroken.errors import StorageError
from unbroken.preemption import Preempted, StopFlag
from unbroken.run import Run
from unbroken.run_folder.events import read_events
from unbroken.run_folder.identity import Identity

__all__ = ["tiny_mount"]
T = TypeVar("T")
NUMBERS = [errno.ENOSPC, errno.EDQUOT, errno.EIO]
WRITING = ("create", "update", "write", "append", "reserve", "fsync", "truncate", "rename")
VIEW, DURABLE, VERDICT, EVENTS = (
    "run/journal.jsonl",
    "checkpoints/journal.jsonl",
    "run/.tmp-verdict.json",
    "events.jsonl",
)


class Refusing(toy_training.Unsynced):
    """Refuses what writes a file whose path ends so, between two steps of the toy training."""

    def __init__(self, end: str, number: int, first: int = 0, last: int = 99, only: tuple[str, ...] = WRITING) -> None:
        self.end, self.number, self.range, self.only = end, number, range(first, last + 1), only
        self.step = self.refused = 0

    def sync(self, descriptor: int, path: Path) -> None:
        self.call("fsync", path, lambda: None)

    def call(self, name: str, path: Path, action: Callable[[], T]) -> T:
        source = path.with_name(".tmp-verdict.json") if name == "rename" and path.name == "verdict.json" else path
        if name in self.only and str(source).endswith(self.end) and self.step in self.range:
            self.refused += 1
            raise OSError(self.number, os.strerror(self.number), str(path))
        return action()

    def follow(self, _run: Run, step: int) -> None:
        """A hook of the toy training."""
        self.step = step


def train(work: Path, files: Refusing, reports: list[str], **options: Any) -> None:
    """The toy training with saves in its own thread."""
    settings = {"files": files, "report": reports.append, "background": False, "hook": files.follow, **options}
    toy_training.train(work / "run", work / "export", **settings)


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("end", [VIEW, EVENTS, VERDICT])
def test_what_no_result_needs_costs_a_sentence(
    end: str, number: int, tmp_path: Path, uninterrupted: dict[str, bytes]
) -> None:
    reports: list[str] = []
    files = Refusing(end, number, first=3)
    train(tmp_path, files, reports)
    assert files.refused
    (said,) = [report for report in reports if errno.errorcode[number] in report]
    assert "could not be written" in said
    assert toy_training.contents(tmp_path / "export") == uninterrupted
    assert not (tmp_path / "run" / ".tmp-verdict.json").exists()


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO])
def test_pins_that_cannot_be_listed_at_the_end_stay(
    number: int, tmp_path: Path, uninterrupted: dict[str, bytes]
) -> None:
    reports: list[str] = []
    files = Refusing("run/pins", number, first=20, only=("list",))
    train(tmp_path, files, reports)
    (said,) = [report for report in reports if errno.errorcode[number] in report]
    assert said.startswith("Could not look for old pins at ")
    assert toy_training.contents(tmp_path / "export") == uninterrupted


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO])
def test_a_pin_that_cannot_be_looked_for_is_a_sentence(number: int, tmp_path: Path) -> None:
    files = Refusing("pins/best", number, only=("list",))
    files.step = 100
    state = {"weights": {"w": torch.zeros(2)}}
    with Run(tmp_path / "run", identity=Identity({}), state=state, stop=StopFlag(), files=files) as run:
        for _ in run.steps(3):
            run.pin("best")
        files.step = 0
        with pytest.raises(StorageError, match=rf"look for a pin at .*{errno.errorcode[number]}.*Next:"):
            run.pinned("best")
        files.step = 100
        assert run.pinned("best")


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("only", [("update",), ("write",), ("fsync",), ("truncate",)])
def test_a_history_that_cannot_be_saved_for_a_while_is_whole_in_the_end(
    only: tuple[str, ...], number: int, tmp_path: Path, uninterrupted: dict[str, bytes]
) -> None:
    reports: list[str] = []
    files = Refusing(DURABLE, number, first=10, last=30, only=only)
    train(tmp_path, files, reports)
    assert files.refused
    lost = [
        event["step"] for event in read_events(tmp_path / "run/events.jsonl") if event["event"] == "checkpoint-failed"
    ]
    assert lost == [14, 21, 28]
    assert len([report for report in reports if "The training goes on without this checkpoint" in report]) == 3
    assert toy_training.contents(tmp_path / "export") == uninterrupted


@pytest.mark.parametrize("number", NUMBERS)
def test_a_history_that_cannot_be_saved_at_the_end_fails_the_run(
    number: int, tmp_path: Path, uninterrupted: dict[str, bytes]
) -> None:
    files = Refusing(DURABLE, number, first=30)
    with pytest.raises(StorageError, match=rf"{errno.errorcode[number]}.*step 28 is intact.*Next: ") as failed:
        train(tmp_path, files, [])
    assert failed.value.exit_code == 1
    assert json.loads((tmp_path / "run/verdict.json").read_text())["exit"] == 1
    reports: list[str] = []
    train(tmp_path, Refusing("nothing", number), reports)
    assert "Going on from step 28" in reports[0]
    assert toy_training.contents(tmp_path / "export") == uninterrupted


@pytest.mark.parametrize("number", NUMBERS)
def test_a_stop_is_a_stop_although_its_verdict_has_no_room(
    number: int, tmp_path: Path, uninterrupted: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run's disk is full, and the script's file is on another one."""
    asked = tmp_path / "asked.json"
    monkeypatch.setenv("UNBROKEN_VERDICT", str(asked))
    reports: list[str] = []
    stop_at = toy_training.stop_at(17)
    files = Refusing(VERDICT, number)
    with pytest.raises(Preempted):
        train(tmp_path, files, reports, hook=stop_at)
    assert [report for report in reports if "verdict" in report and errno.errorcode[number] in report]
    assert json.loads(asked.read_text()) == {"exit": 75, "signal": "SIGTERM", "step": 17}
    monkeypatch.delenv("UNBROKEN_VERDICT")
    train(tmp_path, Refusing("nothing", number), reports)
    assert toy_training.contents(tmp_path / "export") == uninterrupted


def test_a_stop_outside_the_steps_is_one_too(tmp_path: Path) -> None:
    """`StopFlag.check` writes the verdict that the script wants, here on a disk that is full for ever."""
    program = "from unbroken.preemption import StopFlag\nstop = StopFlag.install()\nstop.set('SIGTERM')\nstop.check()"
    variables = {**os.environ, "UNBROKEN_VERDICT": "/dev/full/verdict.json"}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 75, done.stderr
    assert "The verdict in" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("background", [False, True])
def test_a_real_disk_that_is_full_for_some_steps(background: bool, tiny_mount: Path) -> None:
    """Every file of the run is on it; somebody else fills it, and removes his files later."""
    reports: list[str] = []
    state = {"weights": {"w": torch.zeros(2_000)}}
    filler = tiny_mount / "somebody-else"
    with Run(
        tiny_mount / "run",
        identity=Identity({}),
        state=state,
        stop=StopFlag(),
        every=3,
        keep=2,
        report=reports.append,
        background=background,
    ) as run:
        for step in run.steps(60):
            state["weights"]["w"] += step
            run.log(loss=1.0 / step, text=float(step) * 1e-9)
            if step == 10:
                fill(filler)
            if step == 50:
                filler.unlink()
        final = run.final
    assert [report for report in reports if "ENOSPC" in report]
    records = (tiny_mount / "run/journal.jsonl").read_bytes()
    assert [json.loads(line)["step"] for line in records.splitlines()] == list(range(1, 61))
    assert (tiny_mount / "run/checkpoints/journal.jsonl").read_bytes() == records
    assert final.name == "step-00000060"
    again = {"weights": {"w": torch.zeros(2_000)}}
    with Run(tiny_mount / "run", identity=Identity({}), state=again, stop=StopFlag(), report=reports.append):
        assert again["weights"]["w"].unique().tolist() == [sum(range(61))]


def fill(path: Path) -> None:
    """Take every page that is left."""
    with path.open("wb", buffering=0) as file:
        for size in (4096, 1):
            with suppress(OSError):
                while True:
                    file.write(bytes(size))
