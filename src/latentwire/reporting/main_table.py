"""The main table: every method over all tasks, a block per receiver."""

from __future__ import annotations

from latentwire.reporting.facts import Facts, Record
from latentwire.reporting.numbers import decimals_for, interval, points, whole_digits
from latentwire.reporting.rows import common, difference, unique
from latentwire.reporting.style import Table
from latentwire.reporting.templates import render

FAMILY = "average_versus_reference"
WIDEST = 3
"""Tasks up to which each has a column of its own."""


def main_table(facts: Facts) -> Table:
    """Means over the tasks with their differences from the reference, and the accuracies that they are means of."""
    blocks = facts.stats["main"]
    rows = [row for block in blocks for row in block["rows"]]
    means = [facts.average(row["average"]) for row in rows]
    decimals = decimals_for([mean["high"] - mean["low"] for mean in means if mean["low"] is not None])
    differences = [row["difference"] for row in rows if row["difference"]]
    columns = facts.tasks if len(facts.tasks) <= WIDEST else []
    text = render(
        "main.tex.j2",
        **common(facts, FAMILY, differences),
        tasks=facts.tasks,
        columns=[facts.name(task) for task in columns],
        decimals=decimals,
        whole=whole_digits([mean["value"] for mean in means]),
        blocks=[
            (
                facts.name(block["receiver"]),
                [_row(facts, row, _cells(facts, row, columns), decimals) for row in block["rows"]],
            )
            for block in blocks
        ],
    )
    cells = [cell for row in rows for cell in _cells(facts, row, columns)]
    return Table("main.tex", text, unique([*(row["average"] for row in rows), *differences, *cells]))


def _cells(facts: Facts, row: Record, tasks: list[str]) -> list[str]:
    """Ids of the accuracies that a mean is made of."""
    model = facts.average(row["average"])["model"]
    return [f"{task}/{model}/{row['method']}/{facts.setting('metric')}" for task in tasks]


def _row(facts: Facts, row: Record, cells: list[str], decimals: int) -> Record:
    mean = facts.average(row["average"])
    return {
        "method": facts.name(row["method"]),
        "seeds": mean["S"],
        "cells": [points(facts.cell(cell)["value"], decimals) for cell in cells],
        "mean": points(mean["value"], decimals),
        "interval": interval(mean["low"], mean["high"], decimals),
        "ids": ", ".join(key for key in (row["average"], row["difference"], *cells) if key),
        **difference(facts, row["difference"], FAMILY, decimals),
    }
