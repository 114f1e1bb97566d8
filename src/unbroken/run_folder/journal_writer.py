"""The history of a run while it grows: two files, `journal.jsonl` beside the checkpoints' folder and in it.

The first is the view: a line in each step, for whoever follows the run, never synced. The second is what checkpoints
rely on: a save adds the lines that are new, and syncs them, before its checkpoint is committed. A checkpoint holds
length and SHA-256 of the history up to its step and no copy of it, so its size does not grow with the steps. Lines
are in memory until they are durable; what one file lacks comes from the other.
"""

from __future__ import annotations

import hashlib
import stat
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from unbroken.errors import DamagedError, StorageError, UnbrokenError, errno_name, storage_errors
from unbroken.filesystem import FileSystem, read_exactly_at, sync_folder, write_fully_at
from unbroken.run_folder.journal import Record, encode_record, read_back
from unbroken.run_folder.stored_journal import NO_HISTORY, StoredJournal, count_lines_after, find_journal, has_prefix

_INTACT = "It and the checkpoints were not touched."


@dataclass(frozen=True)
class JournalPart:
    """The history up to a step."""

    size: int
    """Bytes."""
    sha256: str
    make_durable: Callable[[bool], None]
    """Bring it to the disk; called by whoever saves, with whether it shall be read back.

    Raises OSError or StorageError when the disk refused or has lost it; then the lines stay in memory.
    """


@dataclass(frozen=True)
class _Durable:
    """What of the history is in the file that checkpoints rely on."""

    size: int
    hasher: Any
    """The state of its SHA-256."""


class Journal:
    """Grows by a line in each step. A disk that refuses costs the view, or the save of a checkpoint, no line."""

    def __init__(self, view: Path, durable: Path, files: FileSystem, report: Callable[[str], None]) -> None:
        """`view`: the file for the eyes; `durable`: the one that checkpoints rely on."""
        self._view, self._path = view, durable
        self._files, self._report = files, report
        self._lock = threading.Lock()
        """Held for what the loop and the saving thread share: the two that follow."""
        self._durable = _Durable(0, hashlib.sha256())
        self._new = bytearray()
        """The lines that are not durable."""
        self._size, self._hasher = 0, hashlib.sha256()
        self._stored: StoredJournal | None = None
        self._descriptor: int | None = None
        self._viewed = 0
        """Bytes of the view that are those of the history."""
        self._is_cut = self._is_durable_whole = True
        self.lost_lines: int | None = None
        """Lines that the view had after the history when it was matched; None where it did not begin with it."""
        self._failing = False
        """Was it said that the view cannot be written?"""

    def check_file(self) -> None:
        """Is the file that checkpoints rely on a file, if it is there? What else has its name fails at a save.

        Raises:
            StorageError: It is something else, or cannot be looked at.
        """
        with storage_errors("look at the journal", self._path, _INTACT), suppress(FileNotFoundError):
            if not stat.S_ISREG(self._path.stat().st_mode):
                kind = "a folder" if self._path.is_dir() else "a special file"
                raise StorageError(
                    f"{self._path} is {kind}, expected a file: the journal that all checkpoints rely on. {_INTACT} "
                    f"Next: `mv {self._path} {self._path}-moved`, then run the same command again."
                )

    def match(self, stored: StoredJournal | None) -> None:
        """Take what a checkpoint relies on as the history, and compare both files with it. Nothing is changed.

        Raises:
            StorageError: A file cannot be read now.
        """
        with storage_errors("read the journal", self._view, _INTACT):
            stored = stored or find_journal(self._files, (self._path, self._view), *NO_HISTORY)
            self._is_durable_whole = has_prefix(self._files, self._path, stored)
            is_view_good = has_prefix(self._files, self._view, stored)
            self.lost_lines = count_lines_after(self._files, self._view, stored.size) if is_view_good else None
        self._viewed = stored.size if is_view_good else 0
        self._stored, self._durable = stored, _Durable(stored.size, stored.hasher)
        self._size, self._hasher, self._new = stored.size, stored.hasher.copy(), bytearray()

    def cut(self) -> None:
        """Cut the view to the history, in place, and mend what a file has not as it was stored.

        What follows the history in the other file is cut by the first save.
        """
        self._is_cut = False
        try:
            if not self._is_durable_whole:
                with self._updated(self._path) as descriptor:
                    self._prepare_durable(descriptor)
        except (OSError, UnbrokenError) as error:
            self._report(f"The journal {self._path} could not be mended now: {_describe(error)}. The next save will.")
        self._attempt(self._tend_view)

    def append(self, step: int, values: Mapping[str, object]) -> Record:
        """Add the record of a step; returns it as it will be read.

        Raises:
            ValueError: A value is no metric.
        """
        line = encode_record(step, values)
        with self._lock:
            self._new += line
        self._size += len(line)
        self._hasher.update(line)
        self._attempt(self._extend_view)
        return read_back(step, values)

    def part(self) -> JournalPart:
        """The history up to now, for a checkpoint; on this occasion a view that was removed is written again."""
        self._attempt(self._tend_view)
        hasher = self._hasher.copy()
        until = _Durable(self._size, hasher)
        return JournalPart(until.size, hasher.hexdigest(), lambda verify: self._make_durable(until, verify))

    def close(self) -> None:
        """Nothing is written afterwards."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            with suppress(OSError):
                self._files.close(descriptor, self._view)

    def _make_durable(self, until: _Durable, verify: bool) -> None:
        durable, new = self._unsaved()
        lines = new[: until.size - durable.size]
        with self._updated(self._path) as descriptor:
            if self._files.size(descriptor, self._path) < durable.size:  # it was removed or cut by hand
                self._is_durable_whole = False
            self._prepare_durable(descriptor)
            write_fully_at(self._files, descriptor, self._path, lines, durable.size)
            self._files.sync(descriptor, self._path)
            if verify:
                self._read_back(descriptor, lines, durable.size)
        if not durable.size:
            sync_folder(self._files, self._path.parent)
        with self._lock:
            del self._new[: len(lines)]
            self._durable = until

    def _unsaved(self) -> tuple[_Durable, bytes]:
        """What is durable, and the lines after it."""
        with self._lock:
            return self._durable, bytes(self._new)

    def _prepare_durable(self, descriptor: int) -> None:
        """Let the file end where its durable part does, and that be as it was stored."""
        durable, _ = self._unsaved()
        if not self._is_durable_whole:
            self._overwrite(descriptor, self._path, self._find(durable).chunks())
            self._files.sync(descriptor, self._path)
            sync_folder(self._files, self._path.parent)
            self._is_durable_whole = True
        self._files.truncate(descriptor, self._path, durable.size)

    def _find(self, durable: _Durable) -> StoredJournal:
        """What is durable, wherever it is whole.

        Raises:
            StorageError: Nowhere.
        """
        copies: tuple[Path, ...] = (self._path, self._view)
        if self._stored and self._stored.size == durable.size:
            copies = tuple(dict.fromkeys((*copies, *self._stored.copies)))
        try:
            return find_journal(self._files, copies, durable.size, durable.hasher.hexdigest())
        except DamagedError as error:
            raise StorageError(
                f"{error} It was while this process ran. Next: put one of these files back, or stop the run and start "
                "it again, which goes on from a checkpoint whose history is whole."
            ) from error

    def _read_back(self, descriptor: int, lines: bytes, begin: int) -> None:
        self._files.forget(descriptor, self._path)  # or the cache would be compared, not the disk
        stored = bytearray(len(lines))
        read_exactly_at(self._files, descriptor, self._path, memoryview(stored), begin)
        if stored != lines:
            raise StorageError(
                f"The journal {self._path} does not read back as written. Its lines stay in memory. Next: check the "
                "disk (`dmesg | tail`), then run the same command again."
            )

    def _overwrite(self, descriptor: int, path: Path, chunks: Iterable[bytes]) -> None:
        """Write what differs, in place: what is right stays readable, also after a kill in the middle."""
        offset, has_reported = 0, False
        for chunk in chunks:
            there = bytearray(len(chunk))
            count = read_exactly_at(self._files, descriptor, path, memoryview(there), offset)
            if there[:count] != chunk[:count] and not has_reported:
                self._report(f"{path} differs from the history that was stored, and is restored.")
                has_reported = True
            if there != chunk or count < len(chunk):
                write_fully_at(self._files, descriptor, path, chunk, offset)
            offset += len(chunk)

    @contextmanager
    def _updated(self, path: Path) -> Iterator[int]:
        descriptor = self._files.update(path)
        try:
            yield descriptor
        finally:
            self._files.close(descriptor, path)

    def _attempt(self, action: Callable[[], None]) -> None:
        try:
            action()
            self._failing = self._failing and self._viewed < self._size
        except (OSError, UnbrokenError) as error:
            if not self._failing:
                self._report(
                    f"The journal {self._view} could not be written: {_describe(error)}. Its lines stay in memory, go "
                    f"into the next checkpoint, and are written here once the disk accepts them."
                )
            self._failing = True

    def _extend_view(self) -> None:
        descriptor = self._view_descriptor()
        if self._files.size(descriptor, self._view) < self._viewed:  # it was cut by hand
            self._viewed = 0
        with self._lock:
            begin = self._viewed - self._durable.size
            if not self._is_cut or begin < 0:  # or a disk that refused: the next save tends the view
                return
            lines = bytes(self._new[begin:])
        write_fully_at(self._files, descriptor, self._view, lines, self._viewed)
        self._viewed = self._size

    def _view_descriptor(self) -> int:
        if self._descriptor is None:
            self._descriptor = self._files.update(self._view)
        return self._descriptor

    def _tend_view(self) -> None:
        """Let the view be the history, whoever has changed it."""
        if self._viewed == self._size and not self._is_cut:
            self._files.truncate(self._view_descriptor(), self._view, self._size)
        elif self._viewed < self._size or not self._files.is_at(self._view_descriptor(), self._view, self._size):
            self.close()
            self._write_view(self._view_descriptor())
        self._is_cut = True

    def _write_view(self, descriptor: int) -> None:
        durable, new = self._unsaved()
        self._overwrite(descriptor, self._view, chain(self._find(durable).chunks(), [new]))
        self._files.truncate(descriptor, self._view, self._size)
        self._viewed = self._size


def _describe(error: Exception) -> str:
    return errno_name(error) if isinstance(error, OSError) else str(error).rstrip(".")
