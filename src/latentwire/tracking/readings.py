"""`readings.jsonl` of a run folder: what the machine did while the run trained. It is of the execution, no result.

One JSON line for each look. What was not measured is null, never 0.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from os import SEEK_END
from pathlib import Path
from typing import Any, BinaryIO

from latentwire.nvml import Gpu
from unbroken.filesystem import FileSystem

READINGS_FILE = "readings.jsonl"
SHORT = 1 << 21
"""Bytes up to which all readings are taken; of a longer file the newest so many are, and some of those before."""
PARTS = 1000


@dataclass(frozen=True, slots=True)
class Reading:
    """One look at the machine."""

    time: str
    """UTC, ISO 8601."""
    uptime: float
    """Seconds since the machine was started, by a clock that nobody sets."""
    host: str
    pid: int
    """Of the process that trains: a start of the run has one."""
    step: int | None = None
    """The newest one in the journal."""
    cpu: float | None = None
    """Percent of the host's processors since the look before."""
    memory_used: int | None = None
    memory_total: int | None = None
    """Bytes, of what the process may use."""
    disk_free: int | None = None
    disk_total: int | None = None
    """Bytes, of the file system of the run folder."""
    gpus: Sequence[Gpu] = ()
    """Those that the process computes on."""
    problems: Sequence[str] = ()
    """Why readings are missing."""

    @property
    def moment(self) -> datetime:
        """When it was, by the clock of the host."""
        return datetime.fromisoformat(self.time)


def append_reading(folder: Path, reading: Reading, files: FileSystem) -> None:
    """Add a line.

    Raises:
        OSError: The disk refused.
    """
    files.append_line(folder / READINGS_FILE, json.dumps(asdict(reading)).encode() + b"\n")


def read_readings(folder: Path) -> list[Reading]:
    """The readings of a run, of many the newest and some of the older ones; lines that are torn are left out.

    Raises:
        OSError: The file is there and cannot be read.
    """
    try:
        with (folder / READINGS_FILE).open("rb") as file:
            return [reading for line in _choose_lines(file) if (reading := _parse_reading(line)) is not None]
    except FileNotFoundError:
        return []


def _choose_lines(file: BinaryIO) -> Iterator[bytes]:
    """In order, each once: some lines of the older part, where there is one, and all of the newer."""
    older = max(0, file.seek(0, SEEK_END) - SHORT)
    last = -1
    for part in range(PARTS if older else 0):
        begin = _seek_line(file, older * part // PARTS)
        if last < begin < older:
            last = begin
            yield file.readline()
    _seek_line(file, older)
    yield from file


def _seek_line(file: BinaryIO, offset: int) -> int:
    """Go to the first line that begins at an offset or after it; returns where that is."""
    file.seek(max(0, offset - 1))
    if offset:
        file.readline()
    return file.tell()


def _parse_reading(line: bytes) -> Reading | None:
    try:
        fields: dict[str, Any] = json.loads(line)
        gpus = tuple(Gpu(**card) for card in fields.get("gpus", ()))
        reading = Reading(**{**fields, "gpus": gpus, "problems": tuple(fields.get("problems", ()))})
        return reading if reading.moment.tzinfo and float(reading.uptime) >= 0 else None
    except (ValueError, TypeError, AttributeError, RecursionError):
        return None
