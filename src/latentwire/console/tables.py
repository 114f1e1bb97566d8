"""Tables for people, of which nothing is cut: names tell the rows apart, and reasons say what to do."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence

from rich.cells import cell_len
from rich.console import Console
from rich.measure import Measurement
from rich.padding import Padding
from rich.table import Column, Table
from rich.text import Text

from unbroken.standard_streams import is_terminal

Row = Sequence[str | Text]

FOLDED = 10
"""Characters that a folded column keeps: enough for a number with its sign, or a day."""
INDENT = 2


def make_table(headers: Sequence[str], rows: Sequence[Row], names: int = 1) -> Table:
    """A table whose first `names` columns stay in one line; the others may be folded."""
    table = Table(show_lines=False)
    for place, header in enumerate(headers):
        longest = max((cell_len(str(row[place])) for row in rows), default=0)
        table.add_column(header, overflow="fold", width=max(longest, cell_len(header)) if place < names else None)
    for row in rows:
        table.add_row(*(cell if isinstance(cell, Text) else Text(cell) for cell in row))
    return table


def print_table(table: Table, console: Console | None = None) -> None:
    """Print a table to stdout: as wide as the terminal is; elsewhere as wide as it needs, one line for each row.

    On a terminal that is too narrow for its columns each row becomes a block of lines: rich would drop columns. A
    caption is one line below, in which a command can be copied: rich would break it at the table's width.
    """
    console = console or make_console()
    caption, table.caption = table.caption, None
    _print_rows(table, console)
    if caption is not None:
        console.print(Text(str(caption)), soft_wrap=True)


def _print_rows(table: Table, console: Console) -> None:
    if not console.is_terminal:
        limits = console.options.update(max_width=sys.maxsize)
        console.width = Measurement.get(console, limits, table).maximum
    elif _narrowest(table) > console.width:
        for block in _blocks(table, console.width - INDENT):
            console.print(block, overflow="fold")
        return
    console.print(table)


def make_console() -> Console:
    """A console on stdout that takes it for a terminal where it is one, whatever FORCE_COLOR says."""
    return Console(force_terminal=is_terminal(sys.stdout))


def _narrowest(table: Table) -> int:
    """The width below which rich would make a column narrower than it should be, down to nothing."""
    return 1 + sum(3 + _narrowest_column(column) for column in table.columns)


def _narrowest_column(column: Column) -> int:
    cells = (str(column.header), *map(str, column.cells))
    return column.width if column.width is not None else min(FOLDED, max(map(cell_len, cells)))


def _blocks(table: Table, width: int) -> Iterator[Text | Padding]:
    """For each row its first cell, then all others with their headers, as many to a line as there is room for."""
    headers = [str(column.header) for column in table.columns]
    for first, *others in zip(*(column.cells for column in table.columns), strict=True):
        yield Text.assemble(first, style="bold")
        pairs = [Text.assemble((f"{head} ", "dim"), cell) for head, cell in zip(headers[1:], others, strict=True)]
        filled = [pair for pair, cell in zip(pairs, others, strict=True) if cell.plain]
        yield Padding(Text("\n").join(_fill(filled, width)), (0, 0, 0, INDENT), expand=False)


def _fill(parts: Sequence[Text], width: int) -> list[Text]:
    lines: list[Text] = []
    for part in parts:
        if lines and cell_len(lines[-1].plain) + INDENT + cell_len(part.plain) <= width:
            lines[-1] = Text(" " * INDENT).join([lines[-1], part])
        else:
            lines.append(part)
    return lines
