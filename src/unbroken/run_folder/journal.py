"""The metric history: one JSON line per step, each with its own checksum. It holds no clock and no host.

Non-finite numbers are the strings "NaN", "Infinity" and "-Infinity" in the file, as JSON has no word for them,
and floats again when read; that is unambiguous because a record holds numbers, booleans and None only.
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from unbroken.errors import CheckpointError, errno_name, storage_errors
from unbroken.filesystem import FileSystem, read_all, write_fully_at

JOURNAL_FILE = "journal.jsonl"
Record = dict[str, Any]
_NON_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_CRC = b', "crc": "'
_RESERVED = ("step", "crc")


def encode_record(step: int, values: Mapping[str, object]) -> bytes:
    """`{"step": 1, "lr": 0.1, …sorted…, "crc": "89abcdef"}` and a line end.

    Raises:
        ValueError: A value is no metric.
    """
    numbers = to_numbers(values)
    record = {"step": step, **{key: _encode_number(numbers[key]) for key in sorted(numbers)}}
    body = json.dumps(record, allow_nan=False).encode("ascii")
    return body[:-1] + _CRC + f'{zlib.crc32(body):08x}"}}\n'.encode("ascii")


def to_numbers(values: Mapping[str, object]) -> dict[str, object]:
    """The values, with scalar tensors and arrays as Python numbers.

    Raises:
        ValueError: A value is no number, boolean or None, or its name is reserved.
    """
    return {key: _to_number(key, value) for key, value in values.items()}


def parse_journal(data: bytes, where: str) -> list[Record]:
    """All records, without their checksums; a last line that is torn or still being written is left out.

    Raises:
        CheckpointError: A line, which is named, is damaged or out of order.
    """
    return list(_parse_records(data, where))


def read_journal(path: Path) -> list[Record]:
    """The records of a file, which another process may be writing.

    Raises:
        CheckpointError: A line is damaged or out of order.
        OSError: The file cannot be read.
    """
    return parse_journal(path.read_bytes(), str(path))  # not `read_file`: a resume may cut it meanwhile


class Journal:
    """Grows by a line in each step. The content is in memory too: a full disk costs the view, not the history."""

    def __init__(self, path: Path, files: FileSystem, report: Callable[[str], None]) -> None:
        self._path = path
        self._files = files
        self._report = report
        self._content = bytearray()
        self._on_disk = 0
        self._is_cut = True
        self._failing = False

    @property
    def content(self) -> bytes:
        """Every byte so far."""
        return bytes(self._content)

    def truncate(self, content: bytes) -> None:
        """Go back to what a checkpoint holds: `match`, then `cut`."""
        self.match(content)
        self.cut()

    def match(self, content: bytes) -> None:
        """Take what a checkpoint holds as the content, and compare the file with it. Nothing is changed.

        Raises:
            StorageError: The file cannot be read now.
        """
        self._content = bytearray(content)
        with storage_errors("read the journal", self._path, "It and the checkpoints were not touched."):
            self._on_disk = self._matching_bytes()

    def cut(self) -> None:
        """Truncate the file in place to what matches, and write the rest."""
        self._is_cut = False
        self._attempt(self._append_missing)

    def append(self, step: int, values: Mapping[str, object]) -> Record:
        """Add the record of a step; returns it as it will be read.

        Raises:
            ValueError: A value is no metric.
        """
        line = encode_record(step, values)
        self._content += line
        self._attempt(self._append_missing)
        return next(_parse_records(line, str(self._path), step))

    def _attempt(self, action: Callable[[int], None]) -> None:
        try:
            descriptor = self._files.update(self._path)
            try:
                action(descriptor)
            finally:
                self._files.close(descriptor, self._path)
            self._failing = False
        except OSError as error:
            if not self._failing:
                self._report(
                    f"The journal {self._path} could not be written: {errno_name(error)}. Its lines stay in "
                    f"memory, go into the next checkpoint, and are written here once the disk accepts them."
                )
            self._failing = True

    def _matching_bytes(self) -> int:
        try:
            descriptor = self._files.open(self._path)
        except FileNotFoundError:
            return 0
        try:
            on_disk = bytearray(min(self._files.size(descriptor, self._path), len(self._content)))
            read_all(self._files, descriptor, self._path, memoryview(on_disk))
        finally:
            self._files.close(descriptor, self._path)
        if on_disk == self._content[: len(on_disk)]:
            return len(on_disk)
        self._report(f"{self._path} differs from its checkpointed copy and is restored from it.")
        return 0

    def _append_missing(self, descriptor: int) -> None:
        if not self._is_cut:  # also after a disk that refused: what is left of an older history must not follow
            self._files.truncate(descriptor, self._path, self._on_disk)
            self._is_cut = True
        missing = bytes(self._content[self._on_disk :])
        write_fully_at(self._files, descriptor, self._path, missing, self._on_disk)
        self._on_disk = len(self._content)


def _parse_records(data: bytes, where: str, first: int = 1) -> Iterator[Record]:
    lines = data.split(b"\n")
    last = len(lines) - 1  # what follows the final line end: nothing, or a torn line
    for index, text in enumerate(lines[:last]):
        step = first + index
        record = _parse_line(text)
        if record is None and index == last - 1 and not lines[last]:
            return  # a torn line whose end was filled in by the file system
        if record is None or record.get("step") != step:
            raise CheckpointError(
                f"Line {index + 1} of {where} is damaged or is not step {step}. Next: run the training again; it "
                "restores the journal from its newest good checkpoint.",
                "journal",
            )
        yield {key: _NON_FINITE.get(value, value) if isinstance(value, str) else value for key, value in record.items()}


def _parse_line(text: bytes) -> Record | None:
    head, mark, tail = text.rpartition(_CRC)
    body = head + b"}"
    if not mark or tail != f'{zlib.crc32(body):08x}"}}'.encode("ascii"):
        return None
    try:
        record = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


def _encode_number(value: object) -> object:
    if isinstance(value, float) and not math.isfinite(value):
        return next(name for name, number in _NON_FINITE.items() if repr(number) == repr(value))
    return value


def _to_number(key: str, value: object) -> object:
    if key in _RESERVED:
        raise ValueError(f"a metric may not be called {key!r}: the journal uses that name")
    if value is not None and not isinstance(value, bool | int | float) and hasattr(value, "item"):
        value = value.item()  # a tensor or numpy scalar
    if value is None or type(value) in (bool, int, float):
        return value
    raise ValueError(f"metric {key!r} is a {type(value).__name__}: numbers, booleans and None can be logged")
