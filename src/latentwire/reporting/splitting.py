"""Tables that are longer than a page, as parts of which each has one.

LaTeX sets a table as a whole and prints what is too long over the number of the page. Heights are estimated from the
letters of the cells, on the safe side; a part that is too long all the same is found in the log.
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
LETTERS_OF_LINE = 112
"""Letters of a caption or note on a line."""
LETTERS_OF_INCH = 19
"""Letters of a cell that is broken into lines, on an inch of them."""


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
    return CAPTION_LINE * _lines_of(table.caption) + HEAD + GAP


def _height_of_notes(table: Table) -> float:
    return LINE[table.density] * sum(map(_lines_of, table.notes)) + SMALL_LINE * len(table.signatures)


def _lines_of(text: Text) -> int:
    return math.ceil(len(plain_text(text)) / LETTERS_OF_LINE)


def _height_of_row(table: Table, row: TableRow) -> float:
    lines = [_lines_of_cell(cell, column) for cell, column in zip(row.cells, table.columns, strict=True)]
    return LINE[table.density] * max(1, *lines)


def _lines_of_cell(cell: Text, column: Column) -> int:
    if not column.width:
        return len(wrap_name(cell)) if column.align == "left" else 1
    inches = float(column.width.removesuffix("in"))
    return math.ceil(len(plain_text(cell)) / (LETTERS_OF_INCH * inches))
