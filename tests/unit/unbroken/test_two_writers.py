"""Somebody removed the lock file, and a second process works in the folder: the first stops, the second is whole."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest

from tests.support import toy_training
from unbroken.errors import LockedError
from unbroken.preemption import Preempted
from unbroken.run import Run
from unbroken.run_folder.lock import FolderLock

T = TypeVar("T")
Files = dict[str, bytes]


def read_all(folder: Path) -> Files:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


class Second:
    """Another process: removes the lock file, trains to its own stop or end, and remembers what it left."""

    def __init__(self, work: Path, stop_after: int) -> None:
        self.run, self.export = work / "run", work / "second"
        self.stop_after, self.left = stop_after, Files()

    def start(self) -> None:
        (self.run / "lock").unlink()
        hook = toy_training.stop_at(self.stop_after)
        if self.stop_after < toy_training.STEPS:
            with pytest.raises(Preempted):
                toy_training.train(self.run, self.export, hook=hook, keep=2)
        else:
            toy_training.train(self.run, self.export, keep=2)
        self.left = read_all(self.run)

    def start_in(self, step: int) -> toy_training.Hook:
        def hook(run: Run, current: int) -> None:
            if current == step:
                while run.last_durable_step < (step - 1) // 7 * 7:  # what is written at this moment is a later test
                    time.sleep(0.01)
                self.start()

        return hook


@pytest.mark.parametrize("background", [True, False])
@pytest.mark.parametrize(
    ("step", "stop_after"), [(10, 8), (10, 11), (10, 40), (14, 14), (14, 21), (21, 23), (40, 37), (40, 40)]
)
def test_the_first_stops_and_touches_nothing(
    step: int, stop_after: int, background: bool, tmp_path: Path, uninterrupted: Files
) -> None:
    second = Second(tmp_path, stop_after)
    with pytest.raises(LockedError, match=r"lock is no longer the one that this process holds.*Next: make sure"):
        toy_training.train(tmp_path / "run", tmp_path / "no", hook=second.start_in(step), background=background)
    assert read_all(tmp_path / "run") == second.left
    assert not (tmp_path / "no").exists()
    toy_training.train(tmp_path / "run", second.export)
    assert toy_training.contents(second.export) == uninterrupted


class SecondComes(toy_training.Unsynced):
    """The second process comes in the middle of a save of the first: at one of its file operations."""

    def __init__(self, second: Second, number: int) -> None:
        self.second, self.number, self.busy = second, number, False

    def call(self, name: str, path: Path, action: Callable[[], T]) -> T:
        if any("00000014" in part for part in path.parts) and not self.busy:
            self.number -= 1
            if self.number == 0:
                self.busy = True
                self.second.start()
        return action()


@pytest.mark.parametrize("number", [1, 2, 3, 5, 8, 11, 14])
def test_the_first_stops_in_the_middle_of_a_save(number: int, tmp_path: Path, uninterrupted: Files) -> None:
    second = Second(tmp_path, toy_training.STEPS)
    files = SecondComes(second, number)
    with pytest.raises(LockedError):
        toy_training.train(tmp_path / "run", tmp_path / "no", files=files, background=False)
    left = read_all(tmp_path / "run")
    assert {name: data for name, data in left.items() if ".tmp-" not in name} == second.left
    toy_training.train(tmp_path / "run", tmp_path / "export")
    assert toy_training.contents(tmp_path / "export") == uninterrupted


def test_a_stop_of_the_first_touches_nothing_either(tmp_path: Path) -> None:
    second = Second(tmp_path, toy_training.STEPS)

    def stop_then_second(run: Run, step: int) -> None:
        if step == 20:
            run.stop.set("SIGTERM")
            second.start()

    with pytest.raises(LockedError):
        toy_training.train(tmp_path / "run", tmp_path / "no", hook=stop_then_second)
    assert read_all(tmp_path / "run") == second.left


def test_the_verdict_for_the_script_is_still_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNBROKEN_VERDICT", str(tmp_path / "verdict.json"))

    def remove(_run: Run, step: int) -> None:
        if step == 9:
            (tmp_path / "run" / "lock").unlink()

    with pytest.raises(LockedError):
        toy_training.train(tmp_path / "run", tmp_path / "no", hook=remove, background=False)
    assert (tmp_path / "verdict.json").read_text() == '{"exit":1,"signal":null,"step":7}\n'
    assert not (tmp_path / "run" / "verdict.json").exists()


def test_a_lock_that_was_removed_while_one_waited_for_it_is_not_taken(tmp_path: Path) -> None:
    first = FolderLock(tmp_path, 0.0)
    waiting = threading.Thread(target=lambda: taken.append(FolderLock(tmp_path, 10.0)))
    taken: list[FolderLock] = []
    waiting.start()
    time.sleep(0.3)
    os.unlink(tmp_path / "lock")
    first.release()
    waiting.join()
    with pytest.raises(LockedError):
        FolderLock(tmp_path, 0.0)
    taken[0].check_still_held()
    taken[0].release()


def test_a_system_that_does_not_say_is_no_second_writer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = FolderLock(tmp_path, 0.0)

    def stale(*_arguments: object) -> os.stat_result:
        raise OSError(116, "Stale file handle")

    with monkeypatch.context() as patch:
        patch.setattr(os, "stat", stale)
        lock.check_still_held()
    lock.release()


def test_a_folder_that_is_named_relatively_is_found_after_chdir(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    lock = FolderLock(Path(), 0.0)
    monkeypatch.chdir("/")
    lock.check_still_held()
    lock.release()
