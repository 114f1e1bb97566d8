"""A disk that is too small for `keep`: older checkpoints make room for the end of a run, and for nothing else."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
import torch

from tests.support import toy_training
from unbroken.errors import StorageError
from unbroken.preemption import StopFlag
from unbroken.run import Run
from unbroken.run_folder.identity import Identity

T = TypeVar("T")


class SmallDisk(toy_training.Unsynced):
    """A file system with room for so many bytes in the folders of checkpoints."""

    def __init__(self, folder: Path, room: int, number: int = errno.ENOSPC) -> None:
        self.folder, self.room, self.number = folder, room, number

    def call(self, name: str, path: Path, action: Callable[[], T]) -> T:
        if name in ("reserve", "write", "update") and path.parent.parent == self.folder:
            used = sum(file.stat().st_size for file in self.folder.glob("*/*"))
            if used + (self.upcoming if name != "reserve" else 0) > self.room:
                raise OSError(self.number, os.strerror(self.number), str(path))
        return action()

    upcoming = 0

    def write(self, descriptor: int, path: Path, data: Any) -> int:
        self.upcoming = len(data)
        return super().write(descriptor, path, data)

    def reserve(self, descriptor: int, path: Path, size: int) -> None:
        """As a file system that cannot: the write meets the end of the disk half-way."""
        raise OSError(errno.EOPNOTSUPP, "", str(path))


def stored(work: Path) -> list[int]:
    """The steps that have a checkpoint."""
    return sorted(int(path.name[5:]) for path in (work / "run" / "checkpoints").glob("step-*"))


def checkpoint_size(tmp_path: Path) -> int:
    """Bytes of the largest checkpoint of the toy training."""
    toy_training.train(tmp_path / "measured" / "run", tmp_path / "measured" / "export")
    folders = (tmp_path / "measured" / "run" / "checkpoints").glob("step-*")
    return max(sum(file.stat().st_size for file in folder.iterdir()) for folder in folders)


def small(tmp_path: Path, checkpoints: float, number: int = errno.ENOSPC) -> SmallDisk:
    """A disk for so many checkpoints."""
    return SmallDisk(tmp_path / "run" / "checkpoints", int(checkpoint_size(tmp_path) * checkpoints), number)


def train(tmp_path: Path, files: SmallDisk, reports: list[str], **options: Any) -> None:
    """The toy training with saves in its own thread."""
    settings = {"files": files, "report": reports.append, "background": False, **options}
    toy_training.train(tmp_path / "run", tmp_path / "export", **settings)


def gone(reports: list[str]) -> list[str]:
    """The sentences on what made room."""
    return [report for report in reports if "was removed to make room" in report]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_the_final_save_gets_room(number: int, tmp_path: Path, uninterrupted: dict[str, bytes]) -> None:
    reports: list[str] = []
    train(tmp_path, small(tmp_path, 3.3, number), reports)  # three fit, so no later periodic one does
    assert toy_training.contents(tmp_path / "export") == uninterrupted
    assert stored(tmp_path) == [14, 21, 40]
    (sentence,) = gone(reports)
    assert sentence == (
        f"The disk is full: the checkpoint of step 7 was removed to make room to save that of step 40 "
        f"({errno.errorcode[number]}). That of step 21 stays."
    )


def test_as_few_as_needed_are_removed_the_oldest_first(tmp_path: Path, uninterrupted: dict[str, bytes]) -> None:
    reports: list[str] = []
    train(tmp_path, small(tmp_path, 2.2), reports, every=1)
    assert toy_training.contents(tmp_path / "export") == uninterrupted
    assert [sentence.split("step ")[1].split()[0] for sentence in gone(reports)] == ["1"]
    assert stored(tmp_path) == [2, 40]


def test_the_save_of_a_stop_gets_room(tmp_path: Path, uninterrupted: dict[str, bytes]) -> None:
    reports: list[str] = []
    disk = small(tmp_path, 3.3)
    with pytest.raises(SystemExit) as left:
        train(tmp_path, disk, reports, hook=toy_training.stop_at(33))
    assert left.value.code == 75
    assert stored(tmp_path) == [14, 21, 33]
    assert len(gone(reports)) == 1
    train(tmp_path, disk, reports)
    assert any("Going on from step 33" in report for report in reports)
    assert toy_training.contents(tmp_path / "export") == uninterrupted


def test_periodic_saves_remove_nothing_and_advise(tmp_path: Path) -> None:
    reports: list[str] = []
    with pytest.raises(ZeroDivisionError):
        train(tmp_path, small(tmp_path, 3.3), reports, hook=lambda _run, step: step == 39 and 1 / 0)  # type: ignore[arg-type]
    assert stored(tmp_path) == [7, 14, 21]
    assert gone(reports) == []
    failed = [report for report in reports if "goes on without this checkpoint" in report]
    assert len(failed) == 2
    assert all("2 older checkpoints beside the newest good one take up space" in report for report in failed)
    assert all("say `Run(keep=1)` instead of keep=3" in report for report in failed)


def test_the_advice_helps(tmp_path: Path, uninterrupted: dict[str, bytes]) -> None:
    reports: list[str] = []
    disk = small(tmp_path, 3.3)
    with pytest.raises(ZeroDivisionError):
        train(tmp_path, disk, [], hook=lambda _run, step: step == 30 and 1 / 0)  # type: ignore[arg-type]
    train(tmp_path, disk, reports, keep=1)
    assert not [report for report in reports if "without this checkpoint" in report]
    assert toy_training.contents(tmp_path / "export") == uninterrupted


def test_without_older_ones_there_is_no_advice(tmp_path: Path) -> None:
    reports: list[str] = []
    with pytest.raises(StorageError):
        train(tmp_path, small(tmp_path, 1.3), reports)
    assert any("without this checkpoint" in report for report in reports)
    assert not any("keep=1" in report for report in reports)


def test_the_newest_good_one_stays_and_the_run_fails_as_before(tmp_path: Path, uninterrupted: dict[str, bytes]) -> None:
    reports: list[str] = []
    disk = small(tmp_path, 1.3)
    with pytest.raises(StorageError, match=r"ENOSPC .* The checkpoint of step 7 is intact\. Next: free some") as error:
        train(tmp_path, disk, reports)
    assert error.value.exit_code == 1
    assert stored(tmp_path) == [7]
    assert gone(reports) == []
    disk.room *= 3
    train(tmp_path, disk, reports)
    assert toy_training.contents(tmp_path / "export") == uninterrupted


def test_another_fault_of_the_disk_removes_nothing(tmp_path: Path) -> None:
    disk = small(tmp_path, 3.3, errno.EIO)
    with pytest.raises(StorageError, match="EIO"):
        train(tmp_path, disk, [])
    assert stored(tmp_path) == [7, 14, 21]


def test_what_was_set_aside_and_what_is_final_stay(tmp_path: Path) -> None:
    reports: list[str] = []
    disk = small(tmp_path, 99)
    train(tmp_path, disk, reports, totals=(12,), every=5)  # 5 and 10; 12 is final
    (tmp_path / "run" / "checkpoints" / "step-00000010").rename(
        tmp_path / "run" / "checkpoints" / "bad-step-00000010-digest"
    )

    def fill(_run: Run, step: int) -> None:
        if step == 24:
            disk.room = sum(file.stat().st_size for file in disk.folder.glob("*/*")) + 100

    with pytest.raises(StorageError):
        train(tmp_path, disk, reports, totals=(12, 40), every=5, keep=1, hook=fill)
    assert stored(tmp_path) == [12, 20]
    assert (tmp_path / "run" / "checkpoints" / "bad-step-00000010-digest").is_dir()


class NearlyFull(toy_training.Unsynced):
    """Full, while there are three checkpoints, for one small file."""

    def __init__(self, work: Path, name: str) -> None:
        self.work, self.name = work, name

    def call(self, name: str, path: Path, action: Callable[[], T]) -> T:
        if name == "create" and path.name.endswith(self.name) and len(stored(self.work)) > 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        return action()


def short_run(work: Path, name: str, reports: list[str]) -> Run:
    """A run on a disk that is full for the file `name`."""
    settings: dict[str, Any] = {"files": NearlyFull(work, name), "report": reports.append, "background": False}
    state = {"model": torch.nn.Linear(2, 2)}
    return Run(work / "run", identity=Identity({}), state=state, stop=StopFlag(), every=2, **settings)


def test_where_a_loop_was_left_gets_room(tmp_path: Path) -> None:
    reports: list[str] = []
    with short_run(tmp_path, "early-end.json", reports) as run:
        for step in run.steps(8):
            if step == 7:
                break
    assert run.final.name == "step-00000007"
    assert "step 2 was removed to make room to write down that the loop was left" in gone(reports)[0]
    assert stored(tmp_path) == [4, 6, 7]


def test_that_a_step_is_final_gets_room(tmp_path: Path) -> None:
    reports: list[str] = []
    with pytest.raises(ValueError, match="is a str"), short_run(tmp_path, "-manifest.json", []) as run:
        [run.log(loss=step if step < 9 else "none") for step in run.steps(9)]
    with short_run(tmp_path, "-manifest.json", reports) as run:
        list(run.steps(8))
    assert run.final.name == "step-00000008"
    assert "step 4 was removed to make room to pin that of step 8" in gone(reports)[0]
    assert stored(tmp_path) == [6, 8]


def await_durable(run: Run, step: int) -> None:
    """Wait for the thread that writes, or one save would take the place of another."""
    limit = time.monotonic() + 30
    while run.last_durable_step < step and time.monotonic() < limit:
        time.sleep(0.001)


@pytest.fixture
def tiny_mount(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 400 kB."""
    if os.geteuid() or not shutil.which("mount"):
        pytest.skip("only root may mount a file system")
    folder = tmp_path / "mounted"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("background", [False, True])
@pytest.mark.parametrize("stop_at", [0, 17])
def test_a_real_small_file_system(stop_at: int, background: bool, tiny_mount: Path) -> None:
    reports: list[str] = []
    stop = StopFlag()
    state = {"weights": {"w": torch.zeros(20_000)}}  # 80 kB: three fit, and no fifth
    settings: dict[str, Any] = {"identity": Identity({}), "report": reports.append, "every": 4, "keep": 5}

    def train_to_end() -> None:
        with Run(tiny_mount / "run", state=state, stop=stop, background=background, **settings) as run:
            for step in run.steps(24):
                await_durable(run, step - 1 if step in (5, 9, 13) else 0)
                state["weights"]["w"] += 1
                if step == stop_at:
                    stop.set("SIGTERM")

    if stop_at:
        with pytest.raises(SystemExit) as left:
            train_to_end()
        assert left.value.code == 75
    else:
        train_to_end()
    assert max(stored(tiny_mount)) == (stop_at or 24)
    assert len(gone(reports)) >= 1
    again = {"weights": {"w": torch.zeros(20_000)}}
    with Run(tiny_mount / "run", state=again, stop=StopFlag(), **settings):
        assert again["weights"]["w"].unique().tolist() == [float(stop_at or 24)]
