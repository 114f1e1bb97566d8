"""The records of a journal that a curve needs: all of a short one, and of a long one those that show its course.

A million lines take ten seconds and a gigabyte to parse, and whoever looks at a training looks again and again. So the
lines of a long journal are chosen by a quick look; each chosen one is parsed and checked as any other.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

from unbroken.errors import CheckpointError
from unbroken.run_folder.journal import Record, parse_chunks, parse_line

LOSS = "train/loss"
QUALITY = "validation/accuracy"
"""The beginning of the names: each receiver has its own."""
SHORT = 1 << 18
"""Bytes up to which all lines are taken: about a thousand."""
PARTS = 150
"""Of a long journal; each is shown by a few of its lines."""
TAIL = 1 << 16
"""Bytes at the end, in which the newest step is."""
VALIDATIONS = 4
"""In a part, at most."""
_LOSS_MARK, _VALIDATION_MARK = f'"{LOSS}": '.encode(), b'"validation/'


@dataclass(frozen=True)
class JournalSample:
    """What is known of a journal."""

    records: Sequence[Record] = ()
    """In order, the last one of the journal among them."""
    problem: str = ""
    """Why some records are missing, in a sentence."""
    written: float = 0.0
    """When the file was last changed, in seconds since 1970 by the clock of its file system."""

    @property
    def last_step(self) -> int:
        """0 before the first step."""
        return int(self.records[-1]["step"]) if self.records else 0


def sample_journal(path: Path) -> JournalSample:
    """Read a journal, which another process may be writing; whatever is wrong with it is a problem and no error."""
    try:
        now = path.stat()
        return replace(_sample(path, now.st_size, now.st_mtime_ns, now.st_ino), written=now.st_mtime)
    except FileNotFoundError:
        return JournalSample()
    except OSError as error:
        return JournalSample(problem=f"The journal cannot be read: {error}. Next: `ls -l {path.parent}`.")


def read_last_step(path: Path) -> int | None:
    """The newest step of a journal, from its end alone; None before the first.

    Raises:
        OSError: It is there and cannot be read.
    """
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - TAIL))
            lines = reversed(file.read().split(b"\n"))
    except FileNotFoundError:
        return None
    newest = next((record for line in lines if (record := parse_line(line)) is not None), None)
    return None if newest is None else int(newest["step"])


@lru_cache(maxsize=256)
def _sample(path: Path, size: int, *_version: int) -> JournalSample:
    """Remembered as long as the file does not change."""
    with path.open("rb") as file:
        return _read_whole(file, path) if size <= SHORT else _read_parts(file, path, size)


def _read_whole(file: BinaryIO, path: Path) -> JournalSample:
    records: list[Record] = []
    try:
        records.extend(parse_chunks([file.read()], str(path)))
    except CheckpointError as error:
        return JournalSample(records, str(error))
    return JournalSample(records)


def _read_parts(file: BinaryIO, path: Path, size: int) -> JournalSample:
    numbered = [(number, parse_line(line)) for number, line in _numbered_lines(file, size // PARTS)]
    while numbered and numbered[-1][1] is None:  # the last line may be torn
        numbered.pop()
    records = [record for _, record in numbered if record is not None]
    # The step of a line is its number: where it is not, lines are missing before it.
    good = [record is not None and record["step"] == number for number, record in numbered]
    if all(good):
        return JournalSample(records)
    before = numbered[good.index(False) - 1][0] if good.index(False) else 0
    return JournalSample(
        records,
        f"Lines of {path} are damaged or missing somewhere after step {before}. Next: run the training again; it "
        "restores the journal from its newest good checkpoint.",
    )


def _numbered_lines(file: BinaryIO, length: int) -> Iterator[tuple[int, bytes]]:
    """The chosen lines of all parts, with their numbers, from 1."""
    count = 0
    for lines in _parts(file, length):
        yield from ((count + place + 1, lines[place]) for place in choose_lines(lines))
        count += len(lines)


def _parts(file: BinaryIO, length: int) -> Iterator[list[bytes]]:
    """Whole lines without their ends; what follows the last line end is being written."""
    while chunk := file.read(length):
        *lines, _ = (chunk + file.readline()).split(b"\n")
        yield lines


def choose_lines(lines: Sequence[bytes]) -> list[int]:
    """Places of the first and last line, of extreme losses, of the first that is no number, and of some validations."""
    losses = [_glimpse_loss(line) for line in lines]
    finite = [place for place, loss in enumerate(losses) if math.isfinite(loss)]
    others = [place for place, loss in enumerate(losses) if not math.isfinite(loss)]
    extremes = (min(finite, key=losses.__getitem__), max(finite, key=losses.__getitem__)) if finite else ()
    validated = [place for place, line in enumerate(lines) if _VALIDATION_MARK in line]
    some = validated[:: max(1, math.ceil(len(validated) / VALIDATIONS))]
    ends = (0, len(lines) - 1) if lines else ()
    return sorted({*ends, *extremes, *others[:1], *some})


def _glimpse_loss(line: bytes) -> float:
    """What the line seems to have as its loss."""
    try:
        return float(line.partition(_LOSS_MARK)[2].partition(b",")[0].strip(b'"'))
    except ValueError:
        return math.nan
