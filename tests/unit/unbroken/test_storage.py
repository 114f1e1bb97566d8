"""Full, read-only and broken disks cost a checkpoint, never the older ones, and are reported."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest
import torch

from tests.support import toy_training
from unbroken.checkpoint.state import capture_state
from unbroken.checkpoint.store import CheckpointStore
from unbroken.errors import StorageError
from unbroken.filesystem import FileSystem, write_durably
from unbroken.preemption import StopFlag

T = TypeVar("T")


class Faulty(FileSystem):
    """Fails every call that `when` picks."""

    def __init__(self, number: int, when: Callable[[str, Path], bool]) -> None:
        self.number, self.when, self.active = number, when, True

    def call(self, name: str, path: Path, action: Callable[[], T]) -> T:
        if self.active and self.when(name, path):
            raise OSError(self.number, os.strerror(self.number), str(path))
        return action()


def in_checkpoint(step: int) -> Callable[[str, Path], bool]:
    return lambda name, path: name in ("reserve", "write") and f"step-{step:08d}" in str(path)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS])
def test_a_failed_periodic_save_costs_only_itself(number: int, tmp_path: Path, uninterrupted: dict[str, bytes]) -> None:
    reports = toy_training.train(
        tmp_path / "run", tmp_path / "export", files=Faulty(number, in_checkpoint(14)), background=False
    )
    assert toy_training.contents(tmp_path / "export") == uninterrupted
    (sentence,) = [report for report in reports if "goes on without this checkpoint" in report]
    assert errno.errorcode[number] in sentence
    assert "The checkpoint of step 7 is intact." in sentence
    assert not list((tmp_path / "run" / "checkpoints").glob(".tmp*"))


@pytest.mark.parametrize("name", ["create", "reserve", "write", "fsync", "mkdir", "rename", "read", "close", "open"])
def test_any_failing_call_of_a_save_leaves_the_older_one(
    name: str, tmp_path: Path, uninterrupted: dict[str, bytes]
) -> None:
    files = Faulty(errno.EIO, lambda call, path: call == name and "checkpoints" in str(path))
    files.active = False

    def hook(_run: object, step: int) -> None:
        files.active = step == 14

    toy_training.train(tmp_path / "run", tmp_path / "export", files=files, hook=hook, background=False)
    assert toy_training.contents(tmp_path / "export") == uninterrupted


def test_a_failed_final_save_fails_the_run_and_loses_nothing(tmp_path: Path, uninterrupted: dict[str, bytes]) -> None:
    with pytest.raises(StorageError, match=r"ENOSPC .* The checkpoint of step 35 is intact\. Next: free some") as e:
        toy_training.train(
            tmp_path / "run", tmp_path / "export", files=Faulty(errno.ENOSPC, in_checkpoint(40)), background=False
        )
    assert e.value.exit_code == 1
    reports = toy_training.train(tmp_path / "run", tmp_path / "export")
    assert "Going on from step 35" in reports[0]
    assert toy_training.contents(tmp_path / "export") == uninterrupted


def test_a_failed_stop_save_is_a_failure_not_a_preemption(tmp_path: Path) -> None:
    with pytest.raises(StorageError):
        toy_training.train(
            tmp_path / "run",
            tmp_path / "export",
            hook=toy_training.stop_at(10),
            files=Faulty(errno.ENOSPC, in_checkpoint(10)),
        )
    assert '"exit":1' in (tmp_path / "run" / "verdict.json").read_text()


def test_a_journal_on_a_full_disk_costs_nothing(tmp_path: Path, uninterrupted: dict[str, bytes]) -> None:
    files = Faulty(errno.ENOSPC, lambda name, path: name == "write" and path == tmp_path / "run" / "journal.jsonl")

    def hook(_run: object, step: int) -> None:
        files.active = 5 <= step < 20

    files.active = False
    reports = toy_training.train(tmp_path / "run", tmp_path / "export", files=files, hook=hook)
    assert len([report for report in reports if "journal" in report]) == 1
    assert toy_training.contents(tmp_path / "export") == uninterrupted
    assert (tmp_path / "run" / "journal.jsonl").read_bytes() == uninterrupted["journal.jsonl"]


def test_read_only_folder(tmp_path: Path) -> None:
    files = Faulty(errno.EROFS, lambda name, _: name in ("create", "mkdir", "update", "rename", "unlink"))
    with pytest.raises(StorageError, match=r"EROFS .*Checkpoints in this folder are intact.*writable"):
        toy_training.train(tmp_path / "run", tmp_path / "export", files=files)


def test_a_checkpoint_that_reads_back_differently_is_not_trusted(
    tmp_path: Path, uninterrupted: dict[str, bytes]
) -> None:
    class Lying(FileSystem):
        def write(self, descriptor: int, path: Path, data: bytes | bytearray | memoryview) -> int:
            if "step-00000014" in str(path) and path.name == "tensors.safetensors" and len(data) > 100:
                data = b"\0" * len(data)
            return super().write(descriptor, path, data)

    reports = toy_training.train(tmp_path / "run", tmp_path / "export", files=Lying(), background=False)
    assert any("does not read back as written" in report for report in reports)
    assert toy_training.contents(tmp_path / "export") == uninterrupted


def test_it_is_read_back_from_the_disk_not_from_the_cache(tmp_path: Path) -> None:
    order: list[str] = []

    class Watching(FileSystem):
        def call(self, name: str, path: Path, action: Callable[[], T]) -> T:
            if path.name == "tensors.safetensors":
                order.append(name)
            return action()

    store = CheckpointStore(tmp_path, files=Watching())
    store.save(1, capture_state({"w": {"w": torch.zeros(9)}}), "a" * 64)
    forgotten = order.index("fadvise")
    assert "fsync" in order[:forgotten]
    assert order.index("write") < forgotten < len(order) - 1 - order[::-1].index("read")


def test_short_writes_are_completed(tmp_path: Path) -> None:
    class Short(FileSystem):
        def write(self, descriptor: int, path: Path, data: bytes | bytearray | memoryview) -> int:
            return super().write(descriptor, path, memoryview(data)[:7])

    write_durably(Short(), tmp_path / "file", 100, [b"x" * 100])
    assert (tmp_path / "file").read_bytes() == b"x" * 100


def test_space_is_reserved_before_anything_is_written(tmp_path: Path) -> None:
    order: list[str] = []

    class Watching(FileSystem):
        def call(self, name: str, _path: Path, action: Callable[[], T]) -> T:
            order.append(name)
            return action()

    write_durably(Watching(), tmp_path / "file", 3, [b"abc"])
    assert order == ["create", "reserve", "write", "fsync", "close"]


def test_the_disk_begins_before_the_last_byte_is_written(tmp_path: Path) -> None:
    order: list[str] = []

    class Watching(FileSystem):
        def call(self, name: str, _path: Path, action: Callable[[], T]) -> T:
            order.append(name)
            return action()

    block = bytes(3 << 20)
    write_durably(Watching(), tmp_path / "file", 3 * len(block), [block, block, block])
    assert order[2:] == ["write", "write", "writeback", "write", "fsync", "close"]
    assert (tmp_path / "file").stat().st_size == 3 * len(block)


def test_commit_syncs_files_then_folder_then_renames_then_syncs_the_parent(tmp_path: Path) -> None:
    order: list[tuple[str, str]] = []

    class Watching(FileSystem):
        def call(self, name: str, path: Path, action: Callable[[], T]) -> T:
            if name in ("fsync", "rename") and "checkpoints" in str(path):
                order.append((name, path.name))
            return action()

    with pytest.raises(SystemExit):
        toy_training.train(
            tmp_path / "run", tmp_path / "export", StopFlag(1.0), toy_training.stop_at(1), files=Watching()
        )
    assert order == [
        ("fsync", "journal.jsonl"),
        ("fsync", "checkpoints"),
        ("fsync", "tensors.safetensors"),
        ("fsync", "manifest.json"),
        ("fsync", ".tmp-step-00000001"),
        ("rename", "step-00000001"),
        ("fsync", "checkpoints"),
    ]


def test_the_file_operations_of_a_run_are_those_of_any_other_process(tmp_path: Path) -> None:
    names: set[str] = set()

    class Watching(FileSystem):
        def call(self, _name: str, path: Path, action: Callable[[], T]) -> T:
            names.add(path.name)
            return action()

    options = {"files": Watching(), "background": False}  # a slow thread may not get to step 7 before the stop
    with pytest.raises(SystemExit):
        toy_training.train(tmp_path / "run", tmp_path / "export", StopFlag(1.0), toy_training.stop_at(9), **options)
    assert {".tmp-verdict.json", ".tmp-identity.json", ".tmp-step-00000007"} <= names
    assert not {name for name in names if name.endswith(f"-{os.getpid()}")}


@pytest.mark.parametrize(
    ("umask", "file", "folder"), [(0o002, 0o664, 0o775), (0o022, 0o644, 0o755), (0o077, 0o600, 0o700)]
)
def test_files_of_a_run_have_the_modes_that_the_umask_leaves(
    umask: int, file: int, folder: int, tmp_path: Path
) -> None:
    """A group whose umask is 002 can go on with the runs of its members."""
    before = os.umask(umask)
    try:
        toy_training.train(tmp_path / "new" / "run", tmp_path / "new" / "export")
    finally:
        os.umask(before)
    paths = [tmp_path / "new", *(tmp_path / "new").rglob("*")]
    modes = {(path.is_dir(), path.stat().st_mode & 0o777) for path in paths}
    assert modes == {(True, folder), (False, file)}, [
        path for path in paths if path.stat().st_mode & 0o777 not in (file, folder)
    ]


def test_space_is_reserved_by_the_system(tmp_path: Path) -> None:
    files = FileSystem()
    descriptor = files.create(tmp_path / "file")
    files.reserve(descriptor, tmp_path / "file", 5_000_000)
    files.close(descriptor, tmp_path / "file")
    found = (tmp_path / "file").stat()
    assert (found.st_size, found.st_blocks * 512 >= 5_000_000) == (5_000_000, True)


@pytest.mark.parametrize("number", [errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL])
def test_a_file_system_that_cannot_reserve_is_not_filled_byte_by_byte(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def refuse(_descriptor: int, _mode: int, _offset: int, size: int) -> int:
        asked.append(size)
        ctypes.set_errno(number)
        return -1

    monkeypatch.setattr("unbroken.filesystem._system_allocate", refuse)
    monkeypatch.setattr(os, "posix_fallocate", lambda *_: pytest.fail("the C library would write every block"))
    write_durably(FileSystem(), tmp_path / "file", 3, [b"abc"])
    assert ((tmp_path / "file").read_bytes(), asked) == (b"abc", [3])


def test_a_full_disk_is_found_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [errno.EINTR, errno.ENOSPC]

    def refuse(*_arguments: int) -> int:
        ctypes.set_errno(answers.pop(0))
        return -1

    monkeypatch.setattr("unbroken.filesystem._system_allocate", refuse)
    with pytest.raises(OSError, match="No space left") as error:
        write_durably(FileSystem(), tmp_path / "file", 3, [b"abc"])
    assert (error.value.errno, answers) == (errno.ENOSPC, [])
    assert (tmp_path / "file").stat().st_size == 0
