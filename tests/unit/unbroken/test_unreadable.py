"""What cannot be read now is not damaged: a start that meets it changes nothing, and the next one goes on."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from tests.support import toy_training
from unbroken.checkpoint.store import CheckpointStore
from unbroken.errors import CheckpointError, IdentityError, LockedError, StorageError, UnbrokenError
from unbroken.filesystem import FileSystem
from unbroken.preemption import Preempted, StopFlag
from unbroken.run import Run
from unbroken.run_folder.events import Events
from unbroken.run_folder.identity import Identity, open_run_folder
from unbroken.run_folder.lock import LOCK_FILE, FolderLock, read_holder

T = TypeVar("T")
ERRORS = ("EACCES", "EIO", "ESTALE", "EMFILE", "ENOMEM", "EINTR", "ENOTCONN")
READS = ("open", "stat", "read", "list")


class FailingRead(toy_training.Unsynced):
    """The n-th operation that reads fails; 0: none does."""

    def __init__(self, number: int = 0, which: int = 0) -> None:
        self.number, self.which, self.count = number, which, 0

    def call(self, name: str, path: Path, action: Callable[[], T]) -> T:
        self.count += name in READS
        if name in READS and self.count == self.which:
            raise OSError(self.number, os.strerror(self.number), str(path))
        return action()


@pytest.fixture
def stopped(tmp_path: Path) -> Path:
    """A run folder with five checkpoints, and a journal that is further than the newest of them."""
    options: dict[str, Any] = {"hook": toy_training.stop_at(30), "background": False, "keep": 9}
    with pytest.raises(Preempted):
        toy_training.train(tmp_path / "run", tmp_path / "export", **options)
    with (tmp_path / "run" / "journal.jsonl").open("ab") as file:
        file.write(b'{"step": 31, "tr')
    return tmp_path / "run"


def contents(folder: Path) -> dict[str, bytes | None]:
    """Every file and folder, but not the verdict and the lock, which are of the start and not of the run."""
    paths = (path for path in sorted(folder.rglob("*")) if path.name not in ("verdict.json", "lock"))
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in paths}


def enter(folder: Path, files: FileSystem) -> list[str]:
    """A start that ends before its first step."""
    reports: list[str] = []
    options: dict[str, Any] = {"identity": toy_training.IDENTITY, "lock_timeout": 0.0, "every": "auto", "files": files}
    with Run(folder, state=toy_training.build(), stop=StopFlag(), report=reports.append, **options):
        return reports


@pytest.mark.parametrize("name", ERRORS)
def test_any_read_that_fails_in_a_resume_ends_the_start_and_changes_nothing(
    name: str, stopped: Path, tmp_path: Path, uninterrupted: dict[str, bytes]
) -> None:
    shutil.copytree(stopped, tmp_path / "copy")
    enter(tmp_path / "copy", counted := FailingRead())
    assert counted.count > 15
    before = contents(stopped)
    for which in range(1, counted.count + 1):
        with pytest.raises(StorageError, match=rf"answered {name} \(.*Next: ") as error:
            enter(stopped, FailingRead(getattr(errno, name), which))
        assert error.value.exit_code == 1
        assert contents(stopped) == before, which
        verdict = stopped / "verdict.json"
        assert not verdict.exists() or '"exit":75' in verdict.read_text(), "no verdict but the one of the start before"
    reports = toy_training.train(stopped, tmp_path / "export")
    assert reports == [f"Going on from step 30 ({stopped}/checkpoints/step-00000030)."]
    assert toy_training.contents(tmp_path / "export") == uninterrupted


def test_a_file_that_ends_early_was_not_read(stopped: Path) -> None:
    class Short(toy_training.Unsynced):
        def read_into(self, descriptor: int, path: Path, target: memoryview) -> int:
            return 0 if path.name == "tensors.safetensors" else super().read_into(descriptor, path, target)

    before = contents(stopped)
    with pytest.raises(StorageError, match=r"read the checkpoint at .*step-00000030"):
        enter(stopped, Short())
    assert contents(stopped) == before


def test_no_memory_for_a_tensor_is_no_damage(stopped: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: object, **_options: object) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    before = contents(stopped)
    monkeypatch.setattr("unbroken.checkpoint.tensorfile.torch.empty", refuse)
    with pytest.raises(StorageError, match="ENOMEM"):
        CheckpointStore(stopped / "checkpoints").latest_good(toy_training.IDENTITY.digest)
    assert contents(stopped) == before


@pytest.fixture
def hidden(stopped: Path) -> Iterator[Callable[[str], Path]]:
    """Takes every permission from a path of the run, until the test ends."""
    modes: dict[Path, int] = {}

    def hide(name: str) -> Path:
        path = stopped / name
        modes[path] = path.stat().st_mode
        path.chmod(0)
        if os.access(path, os.R_OK):
            pytest.skip("root reads everything")
        return path

    yield hide
    for path, mode in modes.items():
        path.chmod(mode)


@pytest.mark.parametrize(
    "name",
    [
        "checkpoints",
        "checkpoints/step-00000030",
        *(f"checkpoints/step-00000030/{file}" for file in ("manifest.json", "tensors.safetensors")),
        "checkpoints/journal.jsonl",
        *("journal.jsonl", "events.jsonl", "identity.json"),
    ],
)
def test_without_permission(
    name: str,
    stopped: Path,
    hidden: Callable[[str], Path],
    tmp_path: Path,
    uninterrupted: dict[str, bytes],
) -> None:
    before, path = contents(stopped), hidden(name)
    with pytest.raises(StorageError, match=r"EACCES.*permission"):
        toy_training.train(stopped, tmp_path / "export")
    path.chmod(0o755)
    assert contents(stopped) == before
    assert "Going on from step 30" in toy_training.train(stopped, tmp_path / "export")[0]
    assert toy_training.contents(tmp_path / "export") == uninterrupted


def test_a_run_without_a_whole_checkpoint_starts_afresh_on_the_users_word_only(
    stopped: Path, tmp_path: Path, uninterrupted: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in (stopped / "checkpoints").glob("step-*/manifest.json"):
        path.unlink()
    before = contents(stopped)
    for said in (None, "0"):
        if said:
            monkeypatch.setenv("UNBROKEN_START_OVER", said)
        with pytest.raises(CheckpointError, match=rf"{stopped}/checkpoints has checkpoints.*`UNBROKEN_START_OVER=1`"):
            toy_training.train(stopped, tmp_path / "export")
        assert contents(stopped) == before
    monkeypatch.setenv("UNBROKEN_START_OVER", "1")
    reports = toy_training.train(stopped, tmp_path / "export")
    assert sum("manifest.json is missing" in report for report in reports) == 5
    assert toy_training.contents(tmp_path / "export") == uninterrupted


def test_a_word_that_is_not_needed_changes_nothing(
    stopped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNBROKEN_START_OVER", "1")
    assert "Going on from step 30" in toy_training.train(stopped, tmp_path / "export")[0]


def test_a_damaged_identity_is_not_replaced_before_a_checkpoint_has_agreed(stopped: Path) -> None:
    (stopped / "identity.json").write_bytes(b"{")
    before = contents(stopped)
    with pytest.raises(IdentityError, match="belongs to identity"):
        Run(
            stopped,
            identity=Identity({"seed": 4}),
            state=toy_training.build(),
            stop=StopFlag(),
            lock_timeout=0.0,
            report=pytest.fail,
        ).__enter__()
    assert contents(stopped) == before


def test_an_identity_of_a_newer_format_is_no_damage(tmp_path: Path) -> None:
    one = Identity({"seed": 3})
    (tmp_path / "identity.json").write_bytes(one.text()[:-2] + b',"schema":"unbroken/2"}\n')
    assert Identity.read(tmp_path / "identity.json") == one


def test_a_sibling_whose_identity_cannot_be_read_now_stops_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / f"item-{'a' * 12}").mkdir()
    (tmp_path / f"item-{'a' * 12}" / "identity.json").write_bytes(b"{}")
    monkeypatch.setattr("unbroken.run_folder.identity.FileSystem", lambda: FailingRead(errno.EACCES, 1))
    reports: list[str] = []
    open_run_folder(tmp_path, "item", Identity({"seed": 3}), reports.append)
    (sentence,) = reports
    assert "because its identity cannot be read now (EACCES" in sentence


def test_a_record_of_events_that_cannot_be_read_is_not_an_empty_one(tmp_path: Path) -> None:
    (tmp_path / "events.jsonl").write_bytes(b'{"event": "start"}\n')
    with pytest.raises(StorageError, match=r"EIO.*not touched"):
        Events(tmp_path, pytest.fail, files=FailingRead(errno.EIO, 1))


def test_a_lock_that_the_file_system_refuses_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("unbroken.run_folder.lock.fcntl.flock", refuse)
    with pytest.raises(StorageError, match=r"ENOLCK.*Nothing was changed"):
        FolderLock(tmp_path, 0.0)


def test_a_holder_whose_name_cannot_be_read_still_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: object) -> bytes:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    held = FolderLock(tmp_path, 0.0)
    monkeypatch.setattr("unbroken.run_folder.lock.read_file", refuse)
    with pytest.raises(LockedError, match="in use by another process"):
        FolderLock(tmp_path, 0.0)
    held.release()


def train_with_pins(folder: Path, files: FileSystem) -> tuple[float, bytes]:
    """Six steps, two of which are pinned one after the other; returns the result and the history of the pin."""
    state = {"sum": {"value": 0.0}}
    options: dict[str, Any] = {"identity": toy_training.IDENTITY, "every": 2, "background": False, "files": files}
    with Run(folder / "run", state=state, stop=StopFlag(), report=lambda _: None, **options) as run:
        for step in run.steps(6):
            state["sum"]["value"] += step
            if step in (3, 5):
                run.pin("best")
        assert run.pinned("best") is not None
        run.export(folder / "export", pin="best")
    return state["sum"]["value"], (folder / "export" / "journal.jsonl").read_bytes()


@pytest.mark.long
def test_any_read_that_fails_while_training_with_pins_is_a_sentence_or_no_failure(tmp_path: Path) -> None:
    counted = FailingRead()
    expected = train_with_pins(tmp_path / "whole", counted)
    refused = 0
    for which in range(1, counted.count + 1):
        try:
            assert train_with_pins(tmp_path / str(which), FailingRead(errno.EACCES, which)) == expected
        except UnbrokenError:  # anything else is a bug
            refused += 1
        assert train_with_pins(tmp_path / str(which), FailingRead()) == expected
    assert 0 < refused < counted.count


@pytest.mark.parametrize("kind", ["folder", "loop", "pipe"])
def test_what_is_no_file_in_the_place_of_the_journal_is_refused_at_the_start(kind: str, stopped: Path) -> None:
    path = stopped / "checkpoints" / "journal.jsonl"
    kept = path.rename(stopped / "checkpoints" / "kept")
    {"folder": path.mkdir, "loop": lambda: path.symlink_to(path.name), "pipe": lambda: os.mkfifo(path)}[kind]()
    before = contents(stopped)
    with pytest.raises(StorageError, match=rf"{path}.* It and the checkpoints were not touched. Next: "):
        enter(stopped, toy_training.Unsynced())
    assert contents(stopped) == before
    path.rmdir() if kind == "folder" else path.unlink()
    kept.rename(path)
    assert enter(stopped, toy_training.Unsynced())


@pytest.mark.parametrize("device", [False, True], ids=["pipe", "device"])
@pytest.mark.parametrize("name", ["identity.json", "events.jsonl", "checkpoints/step-00000030/tensors.safetensors"])
def test_what_would_be_waited_for_without_end_is_a_sentence(name: str, device: bool, stopped: Path) -> None:
    path = stopped / name
    kept = path.rename(stopped / "kept")
    path.symlink_to("/dev/zero") if device else os.mkfifo(path)
    before = {path for path in stopped.rglob("*") if path.name not in ("verdict.json", "lock")}
    with pytest.raises(UnbrokenError, match=r"(?s)answered ENXIO .*Next: check the folder"):
        toy_training.train(stopped, stopped.parent / "export")
    assert {path for path in stopped.rglob("*") if path.name not in ("verdict.json", "lock")} == before
    path.unlink()
    kept.rename(path)
    assert enter(stopped, toy_training.Unsynced())


@pytest.mark.parametrize("device", [False, True], ids=["pipe", "device"])
def test_a_view_that_is_no_file_costs_no_step(device: bool, stopped: Path, uninterrupted: dict[str, bytes]) -> None:
    path = stopped / "journal.jsonl"
    path.unlink()
    path.symlink_to("/dev/full") if device else os.mkfifo(path)
    toy_training.train(stopped, stopped.parent / "export")
    assert toy_training.contents(stopped.parent / "export") == uninterrupted


def test_a_pipe_in_the_place_of_the_lock_names_no_holder_and_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / LOCK_FILE)
    assert read_holder(tmp_path) is None
