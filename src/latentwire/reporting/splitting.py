"""Tables that are longer than a page, as parts of which each has one.

LaTeX sets a table as a whole and prints what is too long over the number of the page. Heights are estimated from the
letters of the cells, on the safe side.
"""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import groupby

from latentwire.reporting.document import Column, RowGroup, Table, TableRow, Text, plain_text
from latentwire.reporting.escaping import wrap_name

PAGE = 645.0
"""Points of a page that the rows of a part, its caption and its notes may take, of 679."""
LINE, SMALL_LINE, CAPTION_LINE = {"normal": 11.0, "dense": 9.6, "tight": 9.6}, 8.2, 11.2
"""Points of a line of the rows, of a signature and of the caption."""
TITLE, HEAD, GAP = 16.0, 28.0, 24.0
"""Points of a group's title with its rule, of the head, and of what stands between rows, caption and notes."""
STEP = 20.0
"""Points by which parts are made shorter as long as they stay as many."""
WIDTH, COLUMN_GAP = 6.75, 0.15
"""Inches of the text, and between two columns."""
LETTERS_OF_NOTES = 16.5
"""Letters of a caption or note on an inch."""
STACKED = 1.3
"""Height of a line of a name that is broken into lines beside others, in lines."""
LETTERS_OF_INCH, LETTERS_OF_BROKEN = 19, 15
"""Letters of a cell on an inch: of one on a line, and of one that is broken into lines, which end unevenly."""


def split_table(table: Table) -> list[Table]:
    """The parts of a table, one for most; the notes stand under the last of them."""
    room = PAGE
    parts = _fill_pages(table, room)
    if len(parts) == 1:
        return [table]
    # Parts of about the same height leave no page with a few rows alone.
    while room > PAGE / 2 and len(evener := _fill_pages(table, room - STEP)) == len(parts):
        parts, room = evener, room - STEP
    shown = [replace(table, groups=_regroup(part)) for part in parts]
    return [*(replace(part, notes=(), signatures=()) for part in shown[:-1]), shown[-1]]


_Rows = list[tuple[int, RowGroup, TableRow]]
"""Rows with their group and its number."""


def _fill_pages(table: Table, page: float) -> list[_Rows]:
    parts: list[_Rows] = [[]]
    room = left = page - _height_around(table)
    for number, group in enumerate(table.groups):
        for row in group.rows:
            title = 0.0 if parts[-1] and parts[-1][-1][0] == number else TITLE
            height = _height_of_row(table, row)
            if height + title > left and parts[-1]:
                parts.append([])
                left, title = room, TITLE
            parts[-1].append((number, group, row))
            left -= height + title
    if left < _height_of_notes(table) and len(parts[-1]) > 1:
        half = len(parts[-1]) // 2
        parts[-1:] = [parts[-1][:half], parts[-1][half:]]
    return parts


def _regroup(part: _Rows) -> tuple[RowGroup, ...]:
    groups = [list(rows) for _, rows in groupby(part, key=lambda found: found[0])]
    return tuple(RowGroup(rows[0][1].title, tuple(row for *_, row in rows)) for rows in groups)


def _height_around(table: Table) -> float:
    heads = max(len(wrap_name(column.header)) for column in table.columns)
    return CAPTION_LINE * _lines_of(table.caption, _inches(table)) + HEAD + (heads - 1) * LINE[table.density] + GAP


def _height_of_notes(table: Table) -> float:
    lines = sum(_lines_of(note, _inches(table)) for note in table.notes)
    return LINE[table.density] * lines + SMALL_LINE * len(table.signatures)


def _inches(table: Table) -> float:
    """The width of a table, which its caption and notes have too."""
    cells = zip(*(row.cells for group in table.groups for row in group.rows), strict=True)
    inches = [
        _inches_of(column) or max(len(plain_text(line)) for cell in own for line in wrap_name(cell)) / LETTERS_OF_INCH
        for column, own in zip(table.columns, cells, strict=False)
    ]
    return min(WIDTH, max(1.0, sum(inches) + COLUMN_GAP * (len(inches) - 1)))


def _inches_of(column: Column) -> float:
    return float(column.width.removesuffix("in") or 0)


def _lines_of(text: Text, inches: float) -> int:
    return math.ceil(len(plain_text(text)) / (LETTERS_OF_NOTES * inches))


def _height_of_row(table: Table, row: TableRow) -> float:
    lines = [_lines_of_cell(cell, column) for cell, column in zip(row.cells, table.columns, strict=True)]
    return LINE[table.density] * max(1, *lines)


def _lines_of_cell(cell: Text, column: Column) -> float:
    if not column.width:
        lines = len(wrap_name(cell)) if column.align == "left" else 1
        return lines if lines == 1 else STACKED * lines
    letters, inches = len(plain_text(cell)), _inches_of(column)
    return 1 if letters <= LETTERS_OF_INCH * inches else math.ceil(letters / (LETTERS_OF_BROKEN * inches))
