"""Records of typed files, JSON lines and Parquet: every value as text."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
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
    """The wanted values of each row, as `read_jsonl` has them.

    Raises:
        ConfigurationError: The file is damaged or of another format, or two of its columns have one name.
    """
    try:
        file = pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True)
        names = file.schema_arrow.names
        check_names(names, where)
        table = file.read(columns=[name for name in names if name in wanted])
    except (pa.ArrowException, OSError, UnicodeError) as error:  # the last two come of damage within the file
        raise ConfigurationError(
            f"{where} is not Parquet, or is damaged: {' '.join(str(error).split())[:200]}. Next: get the file again, "
            "or name its `format.kind` in params.yaml."
        ) from None
    columns = {name: table.column(name) if name in wanted else None for name in names}
    for row in range(table.num_rows):
        place = f"{where}, row {row + 1}"
        yield (
            place,
            {
                name: "" if column is None else _read_value(_read_scalar(column[row], name, place), name, place)
                for name, column in columns.items()
            },
        )


def check_names(names: Sequence[str], where: str) -> None:
    """Refuse columns that a name does not tell apart.

    Raises:
        ConfigurationError: Two columns have one name.
    """
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise ConfigurationError(
            f"The header of {where} names {', '.join(map(repr, twice))} more than once, so nobody knows which of the "
            "columns is meant. Next: rename one of them in the file."
        )


def _parse_object(line: str, place: str) -> dict[str, Any]:
    try:
        found = json.loads(line, object_pairs_hook=_distinct, parse_constant=_read_constant)
    except ValueError as error:
        raise ConfigurationError(
            f"{place}, is not JSON: {error}. Next: mend the line, or name the file's `format.kind` in params.yaml."
        ) from None
    except RecursionError:
        raise ConfigurationError(
            f"{place}, holds lists or objects within each other more deeply than Python reads JSON; expected an object "
            "with a key for each column. Next: take that value out of the line."
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
        _check_encodable(value, column, place)
        return value
    if isinstance(value, float) and math.isinf(value):
        raise ConfigurationError(
            f"Column {column!r} of {place}, is an infinite number, as 1e999 is for a computer; expected text, a finite "
            "number, true, false or nothing. Next: mend the value, or write it as text."
        )
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    raise ConfigurationError(
        f"Column {column!r} of {place}, is {_name_type(value)}; expected text, a number, true, false or nothing. "
        "Next: name another column in `format` of the task in params.yaml."
    )


def _read_scalar(value: pa.Scalar, column: str, place: str) -> Any:
    try:
        return value.as_py()
    except (ValueError, OverflowError) as error:  # text that is not UTF-8, a date beyond those of Python
        raise ConfigurationError(
            f"Column {column!r} of {place}, cannot be read: {error}; expected text in UTF-8, a number, true, false or "
            "nothing. Next: get the file again, or mend the value."
        ) from None


def _check_encodable(text: str, column: str, place: str) -> None:
    """JSON can write half of a surrogate pair, which no file and no tokenizer takes."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ConfigurationError(
            f"Column {column!r} of {place}, has {text[error.start]!r} at character {error.start + 1}, half of a "
            "surrogate pair; expected Unicode text. Next: mend the text, which was cut or decoded wrongly."
        ) from None


def _name_type(value: Any) -> str:
    return {list: "a list", dict: "an object", str: "a text", type(None): "null"}.get(
        type(value), f"of type {type(value).__name__}"
    )
