"""The metric history: one JSON line per step, each with its own checksum. It holds no clock and no host.

Non-finite numbers are the strings "NaN", "Infinity" and "-Infinity" in the file, as JSON has no word for them,
and floats again when read; that is unambiguous because a record holds numbers, booleans and None only.
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from unbroken.canonical_json import WIDEST_INT
from unbroken.errors import ArgumentError, CheckpointError

JOURNAL_FILE = "journal.jsonl"
Record = dict[str, Any]
_NON_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_CRC = b', "crc": "'
_ENCODER = json.JSONEncoder(allow_nan=False)  # `json.dumps` would make one for each line
_RESERVED = ("step", "crc")


def encode_record(step: int, values: Mapping[str, object]) -> bytes:
    """`{"step": 1, "lr": 0.1, …sorted…, "crc": "89abcdef"}` and a line end.

    Raises:
        ValueError: A value is no metric.
    """
    numbers = to_numbers(values)
    record = {"step": step, **{key: _encode_number(numbers[key]) for key in sorted(numbers)}}
    body = _ENCODER.encode(record).encode("ascii")
    return body[:-1] + _CRC + f'{zlib.crc32(body):08x}"}}\n'.encode("ascii")


def to_numbers(values: Mapping[str, object]) -> dict[str, object]:
    """The values, with scalar tensors and arrays as Python numbers.

    Raises:
        ValueError: A value is no number, boolean or None, or its name is reserved.
    """
    return {key: _to_number(key, value) for key, value in values.items()}


def read_back(step: int, values: Mapping[str, object]) -> Record:
    """The record of a step as it will be read from its line."""
    numbers = to_numbers(values)
    return {"step": step, **{key: numbers[key] for key in sorted(numbers)}}


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


def parse_chunks(chunks: Iterable[bytes], where: str) -> Iterator[Record]:
    """The records of a history that comes in pieces, cut anywhere; as `parse_journal`, in bounded memory.

    Raises:
        CheckpointError: A line is damaged or out of order.
    """
    step, rest = 1, b""
    for chunk in chunks:
        lines, end, rest = (rest + chunk).rpartition(b"\n")
        for record in _parse_records(lines + end, where, step):
            yield record
            step += 1


def parse_line(text: bytes) -> Record | None:
    """The record of one line, given without its line end; None where it is damaged."""
    record = _parse_line(text)
    return None if record is None else _restore_numbers(record)


def is_line_of(line: bytes, step: int) -> bool:
    """Is this, with its line end, the whole record of the step?"""
    record = _parse_line(line[:-1]) if line.endswith(b"\n") else None
    return record is not None and record.get("step") == step


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
                f"Line {step} of {where} is damaged or is not step {step}. Next: run the training again; it "
                "restores the journal from its newest good checkpoint.",
                "journal",
            )
        yield _restore_numbers(record)


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


def _restore_numbers(record: Record) -> Record:
    return {key: _NON_FINITE.get(value, value) if isinstance(value, str) else value for key, value in record.items()}


def _encode_number(value: object) -> object:
    if isinstance(value, float) and not math.isfinite(value):
        return next(name for name, number in _NON_FINITE.items() if repr(number) == repr(value))
    return value


def _to_number(key: str, value: object) -> object:
    if key in _RESERVED:
        raise ArgumentError(
            f"a metric may not be called {key!r}: the journal uses that name. Next: run.log(other_name=…)."
        )
    if value is not None and not isinstance(value, bool | int | float) and hasattr(value, "item"):
        value = _to_scalar(key, value)
    if isinstance(value, int) and value.bit_length() > WIDEST_INT:
        raise ArgumentError(
            f"metric {key!r} is an integer of {value.bit_length()} bits: at most {WIDEST_INT} can be logged. "
            f"Next: run.log({key}=float(…))."
        )
    if value is None or type(value) in (bool, int, float):
        return value
    raise ArgumentError(
        f"metric {key!r} is a {type(value).__name__}: numbers, booleans and None can be logged. Next: log a number; a "
        "text belongs into `Run(start_info=…)`, or into the program's own output."
    )


def _to_scalar(key: str, value: Any) -> object:
    """The number in a tensor or numpy scalar."""
    shape = tuple(getattr(value, "shape", None) or ())
    if math.prod(shape) != 1:
        raise ArgumentError(
            f"metric {key!r} is a {type(value).__name__} of shape {list(shape)}: a single number can be logged. "
            f"Next: run.log({key}=value.mean())."
        )
    return value.item()
