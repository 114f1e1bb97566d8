"""Tables of texts and labels: comma-separated files with a header, and Orange's tab-separated ones with three."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Collection, Iterator

from latentwire.errors import ConfigurationError
from latentwire.params.sections import TableFormat

Row = tuple[str, str]
"""Text and label key."""


def read_rows(data: bytes, layout: TableFormat, labels: Collection[str], where: str) -> list[Row]:
    """Texts and labels of a file, in its order, of those rows that pass the layout's `where`.

    Args:
        data: The file's bytes, UTF-8.
        layout: Its format and columns.
        labels: Label keys that the task knows.
        where: What to call the file in messages.

    Raises:
        ConfigurationError: The file does not parse, or a column, a value to filter by or a label is unknown.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{where} is not UTF-8 ({error}). Next: convert it, or name another file.") from None
    records = _read_orange(text, where) if layout.kind == "orange" else _read_csv(text, where)
    rows = [_row(record, line, layout, labels, where) for line, record in _select_records(records, layout, where)]
    if not rows:
        raise ConfigurationError(
            f"{where} has no row{' with ' + str(layout.where) if layout.where else ''}; expected texts and labels. "
            "Next: correct `source` or `format.where` of the task in params.yaml."
        )
    return rows


def _select_records(
    records: Iterator[tuple[int, dict[str, str]]], layout: TableFormat, where: str
) -> Iterator[tuple[int, dict[str, str]]]:
    wanted = {layout.text, layout.label, *layout.where}
    for line, record in records:
        if not wanted <= record.keys():
            raise ConfigurationError(
                f"{where}, line {line}, has the columns {', '.join(map(repr, record))}; expected "
                f"{', '.join(map(repr, sorted(wanted)))}. Next: correct `format` of the task in params.yaml."
            )
        if all(record[column] == value for column, value in layout.where.items()):
            yield line, record


def _row(record: dict[str, str], line: int, layout: TableFormat, labels: Collection[str], where: str) -> Row:
    label = record[layout.label]
    if label not in labels:
        raise ConfigurationError(
            f"Unknown label {label!r} in column {layout.label!r} of {where}, line {line}; known are "
            f"{', '.join(map(repr, labels))}. Next: add it to `labels` of the task in params.yaml, or filter its rows "
            "out with `where`."
        )
    return record[layout.text], label


def _read_csv(text: str, where: str) -> Iterator[tuple[int, dict[str, str]]]:
    csv.field_size_limit(max(csv.field_size_limit(), len(text)))  # a text may be longer than the module expects
    lines = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = next(lines, [])
        _check_header(header, where)
        for cells in lines:
            if cells:
                yield lines.line_num, _record(header, cells, lines.line_num, where)
    except csv.Error as error:
        raise ConfigurationError(
            f"{where}, line {lines.line_num}, is not comma-separated text: {error}. Next: mend the file, or name its "
            "`format.kind` in params.yaml."
        ) from None


def _read_orange(text: str, where: str) -> Iterator[tuple[int, dict[str, str]]]:
    """Rows under the three header lines (names, types, roles); there is no quoting."""
    lines = text.replace("\r\n", "\n").split("\n")
    header = lines[0].split("\t")
    _check_header(header, where)
    for number, line in enumerate(lines[3:], 4):
        if line.strip():
            yield number, _record(header, line.split("\t"), number, where)


def _check_header(header: list[str], where: str) -> None:
    twice = [name for name, count in Counter(header).items() if count > 1]
    if twice:
        raise ConfigurationError(
            f"The header of {where} names {', '.join(map(repr, twice))} more than once, so nobody knows which of the "
            "columns is meant. Next: rename one of them in the file."
        )


def _record(header: list[str], cells: list[str], line: int, where: str) -> dict[str, str]:
    if len(cells) != len(header):
        raise ConfigurationError(
            f"{where}, line {line}, has {len(cells)} cells; expected {len(header)}, as its header has. Next: mend the "
            "line; a separator inside a text has to be quoted, or to be taken out where the format has no quotes."
        )
    return dict(zip(header, cells, strict=True))
