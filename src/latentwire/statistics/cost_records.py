"""What an example costs a method, against the reference, and which methods are better for no more bytes."""

from __future__ import annotations

from collections.abc import Mapping

from latentwire.statistics.comparisons import StatsRecord


def cost_record(cells: Mapping[str, StatsRecord], reference: str) -> StatsRecord:
    """Costs of the methods of a block.

    `cost_ratio` is bytes over those of the reference, None where that costs nothing. `dominated` maps a method to those
    that score at least as much for at most as many bytes and differ in one of the two (Pareto). Both go by the
    numbers as they are, without their uncertainty.

    Args:
        cells: Cell of every contender, by method; the reference is among them.
        reference: The method that costs are set against.
    """
    bytes_of = {name: float(cell["bytes_per_example"]) for name, cell in cells.items()}
    base = bytes_of[reference]
    return {
        "cost_ratio": {name: cost / base if base else None for name, cost in bytes_of.items()},
        "dominated": {name: find_dominators(cells, name) for name in cells},
    }


def find_dominators(cells: Mapping[str, StatsRecord], name: str) -> list[str]:
    """Methods that are no worse in bytes and in value than `name`, and better in one of them."""
    own = _point(cells[name])
    others = {other: _point(cell) for other, cell in cells.items()}
    return [other for other, point in others.items() if point[0] <= own[0] and point[1] >= own[1] and point != own]


def _point(cell: StatsRecord) -> tuple[float, float]:
    return float(cell["bytes_per_example"]), float(cell["value"])
