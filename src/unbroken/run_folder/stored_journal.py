"""The history that belongs to a checkpoint: the beginning of files that grow, known by its length and SHA-256.

It has several copies, of which none need be whole: each line, which has a checksum of its own, is taken from a copy
that has it, and the SHA-256 of all of them decides. Everything is read in pieces, however long the history is.
"""

from __future__ import annotations

import errno
import hashlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from unbroken.errors import DamagedError
from unbroken.filesystem import FileSystem, read_exactly_at
from unbroken.run_folder.journal import Record, is_line_of, parse_chunks

PIECE = 1 << 20
"""Bytes of a history that are in memory at a time."""
_LONGEST_LINE = 1 << 24
NO_HISTORY = (0, hashlib.sha256().hexdigest())


@dataclass(frozen=True)
class StoredJournal:
    """The first `size` bytes of a history, which were found to have this SHA-256."""

    files: FileSystem
    copies: tuple[Path, ...]
    """Where it was looked for."""
    whole: frozenset[Path]
    """Copies that have all of it."""
    sources: tuple[Path, ...]
    """One of them; or, in order of preference, those that have it together."""
    size: int
    sha256: str
    hasher: Any
    """The state of the SHA-256 at the end of it."""

    def chunks(self) -> Iterator[bytes]:
        """All of it, in pieces that end anywhere.

        Raises:
            DamagedError: It has changed since.
            OSError: It cannot be read now.
        """
        hasher = hashlib.sha256()
        for chunk in _read_from(self.files, self.sources, self.size):
            hasher.update(chunk)
            yield chunk
        if hasher.hexdigest() != self.sha256:
            raise _no_copy(self.copies, self.size)

    def records(self) -> Iterator[Record]:
        """Its records, in order.

        Raises:
            CheckpointError: It has changed since, or a line is no record.
            OSError: It cannot be read now.
        """
        return parse_chunks(self.chunks(), str(self.sources[0] if self.sources else "the journal"))


def find_journal(
    files: FileSystem, copies: Sequence[Path], size: int, sha256: str, grows: bool = True
) -> StoredJournal:
    """The history of `size` bytes with this SHA-256, from whatever its copies have of it. Nothing is changed.

    Every copy is read, so that one that cannot be read now is an error and not a copy that lacks something. A file
    that does not grow ends where the history does.

    Raises:
        DamagedError: No copy has it, nor do all of them together.
        OSError: A copy cannot be read now.
    """
    hashers = {path: _hash_chunks(_read_prefix(files, path, size if grows else size + 1)) for path in copies}
    whole = [path for path, hasher in hashers.items() if hasher.hexdigest() == sha256]
    found = frozenset(whole)
    if whole or (grows and not size):
        hasher = hashers[whole[0]] if whole else hashlib.sha256()
        return StoredJournal(files, tuple(copies), found, tuple(whole[:1]), size, sha256, hasher)
    for sources in (tuple(copies), tuple(reversed(copies))) if len(copies) > 1 else ():
        hasher = _hash_chunks(_read_from(files, sources, size))
        if hasher.hexdigest() == sha256:
            return StoredJournal(files, tuple(copies), found, sources, size, sha256, hasher)
    raise _no_copy(copies, size)


def has_prefix(files: FileSystem, path: Path, stored: StoredJournal) -> bool:
    """Does the file begin with this history?

    Raises:
        OSError: It cannot be read now.
    """
    if path in stored.copies:
        return path in stored.whole
    return bool(_hash_chunks(_read_prefix(files, path, stored.size)).hexdigest() == stored.sha256)


def count_lines_after(files: FileSystem, path: Path, begin: int) -> int:
    """Whole lines of a file after its first `begin` bytes.

    Raises:
        OSError: It cannot be read now.
    """
    return sum(piece.count(b"\n") for piece in _read_prefix(files, path, sys.maxsize, begin))


def _no_copy(copies: Sequence[Path], size: int) -> DamagedError:
    return DamagedError(
        f"The history of {size} bytes that was stored is not whole in {' and '.join(map(str, copies))}.", "journal"
    )


def _hash_chunks(chunks: Iterator[bytes]) -> Any:
    hasher = hashlib.sha256()
    for chunk in chunks:
        hasher.update(chunk)
    return hasher


def _read_from(files: FileSystem, sources: Sequence[Path], size: int) -> Iterator[bytes]:
    return _read_prefix(files, sources[0], size) if len(sources) == 1 else _merge_lines(files, sources, size)


def _read_prefix(files: FileSystem, path: Path, size: int, begin: int = 0) -> Iterator[bytes]:
    """At most the first `size` bytes, without those before `begin`; none of a file that is not there."""
    descriptor = _open_if_there(files, path)
    if descriptor is None:
        return
    try:
        offset = begin
        while offset < size:
            piece = bytearray(min(PIECE, size - offset))
            count = _read_piece(files, descriptor, path, memoryview(piece), offset)
            offset += count
            if count:
                yield bytes(piece[:count])
            if count < len(piece):
                return
    finally:
        files.close(descriptor, path)


def _read_piece(files: FileSystem, descriptor: int, path: Path, target: memoryview, offset: int) -> int:
    """Bytes that were there, fewer than asked for only at the end of the file."""
    try:
        count = read_exactly_at(files, descriptor, path, target, offset)
    except IsADirectoryError:
        return 0
    if count < len(target) and files.size(descriptor, path) > offset + count:
        raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))  # it was not read, which proves nothing
    return count


def _open_if_there(files: FileSystem, path: Path) -> int | None:
    try:
        return files.open(path)
    except FileNotFoundError:
        if path.name in files.names(path.parent):
            raise  # a link that leads nowhere proves nothing
        return None
    except OSError as error:
        if error.errno == errno.ENXIO:  # a pipe or a device holds no line, as a folder does
            return None
        raise


def _merge_lines(files: FileSystem, sources: Sequence[Path], size: int) -> Iterator[bytes]:
    """Line after line from the first source that has it whole, up to `size` bytes or to a line that nobody has."""
    descriptors = {path: descriptor for path in sources if (descriptor := _open_if_there(files, path)) is not None}
    try:
        windows = [_Window(files, path, descriptor) for path, descriptor in descriptors.items()]
        offset, step = 0, 1
        while offset < size:
            lines = (window.find_line(offset) for window in windows)
            line = next((line for line in lines if is_line_of(line, step)), b"")
            if not line:
                return
            yield line
            offset, step = offset + len(line), step + 1
    finally:
        for path, descriptor in descriptors.items():
            files.close(descriptor, path)


class _Window:
    """A piece of a file, moved to where a line is looked for."""

    def __init__(self, files: FileSystem, path: Path, descriptor: int) -> None:
        self._read: Callable[[memoryview, int], int] = partial(_read_piece, files, descriptor, path)
        self._start, self._data = 0, b""

    def find_line(self, offset: int) -> bytes:
        """The line that begins at `offset`, with its end; empty if there is none."""
        size = PIECE
        while (end := self._data.find(b"\n", offset - self._start)) < 0 and size <= _LONGEST_LINE:
            piece = bytearray(size)
            count = self._read(memoryview(piece), offset)
            self._start, self._data = offset, bytes(piece[:count])
            size = 2 * size if count == size else _LONGEST_LINE + 1
        return self._data[offset - self._start : end + 1] if end >= 0 else b""
