"""Records of comma- and tab-separated text."""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

from latentwire.errors import ConfigurationError
from latentwire.tasks.records import Record, check_names, decode_text

Line = tuple[int, list[str]]
"""Number of the line on which a row begins, and its cells."""


def read_csv(data: bytes, names: Sequence[str] | None, where: str) -> Iterator[tuple[str, Record]]:
    """A record of each row; without `names` the first row has them. Blank lines are no rows."""
    return _name_rows(split_cells(decode_text(data, where), where, "comma"), names, where)


def read_tsv(data: bytes, names: Sequence[str] | None, quotes: bool, where: str) -> Iterator[tuple[str, Record]]:
    """As `read_csv`; without `quotes` a quotation mark is a character as any other."""
    quoting = csv.QUOTE_MINIMAL if quotes else csv.QUOTE_NONE
    lines = split_cells(decode_text(data, where), where, "tab", delimiter="\t", quoting=quoting)
    return _name_rows(lines, names, where)


def split_cells(text: str, where: str, separator: str, **dialect: Any) -> Iterator[Line]:
    """Rows, also blank ones; a quoted cell may hold line ends.

    Args:
        text: The file.
        where: What to call it in messages.
        separator: What to call the delimiter in them.
        dialect: Options of `csv.reader`.

    Raises:
        ConfigurationError: A quotation mark is not closed, or something follows it.
    """
    csv.field_size_limit(max(csv.field_size_limit(), len(text)))  # a text may be longer than the module expects
    rows = csv.reader(io.StringIO(text, newline=""), strict=True, **dialect)
    begins = 1
    try:
        for cells in rows:
            yield begins, cells
            begins = rows.line_num + 1
    except csv.Error as error:
        hint = "; with kind tsv, `format.quotes: false` makes quotation marks part of the text" * (separator == "tab")
        raise ConfigurationError(
            f"{where}, line {begins}, is not {separator}-separated text: {error}. Next: mend the file (a cell that "
            f"begins with a quotation mark ends with one, and doubles those within), or name its `format.kind` in "
            f"params.yaml{hint}."
        ) from None


def is_blank(line: Line) -> bool:
    """Whether no cell of a row holds anything."""
    return not any(cell.strip() for cell in line[1])


def name_cells(header: Sequence[str], lines: Iterator[Line], where: str) -> Iterator[tuple[str, Record]]:
    """Cells by the names of their columns.

    Raises:
        ConfigurationError: Two columns have one name, or a row has more or fewer cells than there are names.
    """
    check_names(header, where)
    for number, cells in lines:
        if len(cells) != len(header):
            raise ConfigurationError(
                f"{where}, line {number}, has {len(cells)} cells; expected {len(header)}, as its header has. Next: "
                "mend the line; a separator inside a text has to be quoted, or to be taken out where the format has "
                "no quotes."
            )
        yield f"{where}, line {number}", dict(zip(header, cells, strict=True))


def _name_rows(lines: Iterator[Line], names: Sequence[str] | None, where: str) -> Iterator[tuple[str, Record]]:
    filled = itertools.filterfalse(is_blank, lines)
    header = next(filled, (0, []))[1] if names is None else names
    return name_cells(header, filled, where)
