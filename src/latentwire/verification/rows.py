"""The answer of `latentwire verify`: a row per stage, table and figure, and the exit code that they add up to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from rich.table import Table
from rich.text import Text

from latentwire.console.tables import make_table


class Status(StrEnum):
    """How something compares with what was published."""

    IDENTICAL = "identical"
    COMPATIBLE = "compatible"
    """Other bytes, and nothing that was published is contradicted (`agreement.py`)."""
    CONTRADICTED = "contradicted"
    NOT_VERIFIABLE = "not verifiable"


_STYLES = {
    Status.IDENTICAL: "green",
    Status.COMPATIBLE: "cyan",
    Status.CONTRADICTED: "bold red",
    Status.NOT_VERIFIABLE: "yellow",
}


@dataclass(frozen=True)
class ResultRow:
    """One stage, table, figure, number or claim."""

    kind: str
    name: str
    status: Status
    why: str = ""


def verification_exit_code(rows: Sequence[ResultRow]) -> int:
    """0: all confirmed; 3: something is contradicted; 4: nothing is, but something could not be verified."""
    statuses = {row.status for row in rows}
    if Status.CONTRADICTED in statuses:
        return 3
    return 4 if Status.NOT_VERIFIABLE in statuses or not rows else 0


def rows_table(rows: Sequence[ResultRow]) -> Table:
    """The rows for a terminal."""
    shown = [(row.kind, row.name, Text(row.status.value, _STYLES[row.status]), row.why) for row in rows]
    return make_table(("what", "name", "result", "why"), shown, names=2)


def format_rows(rows: Sequence[ResultRow]) -> list[str]:
    """The rows where the output is not a terminal: one line each, nothing cut off."""
    return [f"{row.status.value:16} {row.kind:7} {row.name}{f': {row.why}' if row.why else ''}" for row in rows]


def summarize_rows(rows: Sequence[ResultRow], label: str) -> str:
    """How many rows have which status, in one sentence."""
    counts = [f"{sum(row.status is status for row in rows)} {status.value}" for status in Status]
    return f"Compared with {label}: {', '.join(counts)}."
