"""Tables for people, of which nothing is cut: names tell the rows apart, and reasons say what to do."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from unbroken.standard_streams import is_terminal

Row = Sequence[str | Text]


def make_table(headers: Sequence[str], rows: Sequence[Row], names: int = 1) -> Table:
    """A table whose first `names` columns stay in one line as long as the others can be folded instead."""
    table = Table(show_lines=False)
    for place, header in enumerate(headers):
        longest = max((len(str(row[place])) for row in rows), default=0)
        table.add_column(header, overflow="fold", width=max(longest, len(header)) if place < names else None)
    for row in rows:
        table.add_row(*(cell if isinstance(cell, Text) else Text(cell) for cell in row))
    return table


def print_table(table: Table, console: Console | None = None) -> None:
    """Print a table to stdout: as wide as the terminal is; elsewhere as wide as it needs, one line for each row."""
    console = console or make_console()
    if not is_terminal(sys.stdout):
        limits = console.options.update(max_width=sys.maxsize)
        console.width = Measurement.get(console, limits, table).maximum
    console.print(table)


def make_console() -> Console:
    """A console on stdout that takes it for a terminal where it is one, whatever FORCE_COLOR says."""
    return Console(force_terminal=is_terminal(sys.stdout))
