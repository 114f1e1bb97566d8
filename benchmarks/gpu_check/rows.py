"""What a check saw, against its goal, and the exit code that follows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from latentwire.console.tables import make_table, print_table

GOOD, MISSED, NO_GPU = 0, 3, 4
HEADERS = ("what", "seen", "goal", "verdict")


@dataclass(frozen=True)
class Row:
    """A line of the table."""

    name: str
    seen: str
    goal: str = ""
    met: bool | None = None
    """None where there is no goal, or nothing was measured."""
    measured: bool = True

    @property
    def verdict(self) -> str:
        """One or two words; empty where there is no goal."""
        if not self.measured:
            return "not measured"
        return {None: "", True: "good", False: "MISSED"}[self.met]


def yes_or_no(name: str, goal: str, good: bool, otherwise: str) -> Row:
    """A row of something that has to be so."""
    return Row(name, "yes" if good else otherwise, goal, good)


def not_measured(name: str, why: str) -> Row:
    """A row that says why there is no figure."""
    return Row(name, f"not measured: {why}", measured=False)


def failed(name: str, why: str) -> Row:
    """A row of a part that ended with an error."""
    return Row(name, why, "it runs", False)


def print_rows(rows: Sequence[Row]) -> None:
    """Print the table."""
    cells = [(row.name, row.seen, row.goal, row.verdict) for row in rows]
    print_table(make_table(HEADERS, cells))


def exit_code(rows: Sequence[Row], on_gpu: bool) -> int:
    """0 where all that a GPU has to show is good; 3 where it is not, or was not measured; 4 without a GPU."""
    if any(row.met is False for row in rows):
        return MISSED
    if not on_gpu:
        return NO_GPU
    return GOOD if all(row.measured for row in rows) else MISSED
