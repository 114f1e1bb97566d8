"""Records of typed files, JSON lines and Parquet: every value as text."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from latentwire.errors import ConfigurationError

Record = Mapping[str, str]
"""Column → its cell."""


def decode_text(data: bytes, where: str) -> str:
    """The text of a UTF-8 file, without a byte order mark.

    Raises:
        ConfigurationError: It is not UTF-8.
    """
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{where} is not UTF-8 ({error}). Next: convert it, or name another file.") from None


def read_jsonl(data: bytes, wanted: Collection[str], where: str) -> Iterator[tuple[str, Record]]:
    """The wanted values of each line's object; numbers and truth values as JSON writes them, null as an empty text."""
    # Within JSON a line's end is always escaped, and other separators of lines are part of a text.
    lines = decode_text(data, where).replace("\r\n", "\n").replace("\r", "\n").split("\n")
    for number, line in enumerate(lines, 1):
        if line.strip():
            place = f"{where}, line {number}"
            found = _parse_object(line, place)
            yield place, {key: _read_value(found[key], key, place) if key in wanted else "" for key in found}


def read_parquet(data: bytes, wanted: Collection[str], where: str) -> Iterator[tuple[str, Record]]:
    """The wanted values of each row, as `read_jsonl` has them."""
    try:
        file = pq.ParquetFile(pa.BufferReader(data))
        names = file.schema_arrow.names
        rows = file.read(columns=[name for name in names if name in wanted]).to_pylist()
    except pa.ArrowException as error:
        raise ConfigurationError(
            f"{where} is not Parquet: {' '.join(str(error).split())[:200]}. Next: get the file again, or name its "
            "`format.kind` in params.yaml."
        ) from None
    others = {name: "" for name in names if name not in wanted}
    for number, row in enumerate(rows, 1):
        place = f"{where}, row {number}"
        yield place, {**others, **{key: _read_value(value, key, place) for key, value in row.items()}}


def _parse_object(line: str, place: str) -> dict[str, Any]:
    try:
        found = json.loads(line, object_pairs_hook=_distinct, parse_constant=_read_constant)
    except ValueError as error:
        raise ConfigurationError(
            f"{place}, is not JSON: {error}. Next: mend the line, or name the file's `format.kind` in params.yaml."
        ) from None
    if not isinstance(found, dict):
        raise ConfigurationError(
            f"{place}, is {_name_type(found)}; expected an object with a key for each column. Next: write one object "
            "on each line."
        )
    return found


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    twice = [key for key, count in Counter(key for key, _ in pairs).items() if count > 1]
    if twice:
        raise ValueError(f"the key {twice[0]!r} stands there more than once")
    return dict(pairs)


def _read_constant(name: str) -> None:
    """NaN, which Python writes for a number that is missing."""
    if name != "NaN":
        raise ValueError(f"{name} is no number of JSON")


def _read_value(value: Any, column: str, place: str) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    raise ConfigurationError(
        f"Column {column!r} of {place}, is {_name_type(value)}; expected text, a number, true, false or nothing. "
        "Next: name another column in `format` of the task in params.yaml."
    )


def _name_type(value: Any) -> str:
    return {list: "a list", dict: "an object", str: "a text", type(None): "null"}.get(
        type(value), f"of type {type(value).__name__}"
    )
