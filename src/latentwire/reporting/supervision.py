"""How many labelled examples each method learned from, in words: what is trained is not what is zero-shot."""

from __future__ import annotations

from collections.abc import Sequence

from latentwire.reporting.document import Emphasis, Text, compose_text, join_items
from latentwire.reporting.report_data import Record, ReportData

Range = tuple[int, int]
"""Fewest and most labelled examples of a method, over tasks and seeds."""


def count_training_labels(data: ReportData, method: str) -> Range:
    """Labelled examples that a method was trained on, over the tasks."""
    cells = [cell for cell in data.stats["cells"].values() if cell["method"] == method]
    return min(cell["fewest_training_labels"] for cell in cells), max(cell["training_labels"] for cell in cells)


def describe_supervision(data: ReportData) -> Text:
    """Which methods learned from labelled examples, and that the others are zero-shot; the set-up says how many."""
    methods = [method for method in data.methods if not data.control_of(method)]
    untrained = [method for method in methods if count_training_labels(data, method) == (0, 0)]
    learned = [method for method in methods if method not in untrained]
    if not untrained:
        return ("All methods learned from labelled examples of the task.\n",)
    return compose_text(
        "{learned} learned from labelled examples of the task; {untrained} {are} zero-shot, so that what sets a "
        "trained method apart from {them} is supervision, too.\n",
        learned=_emphasize(data, learned),
        untrained=_emphasize(data, untrained),
        are="is" if len(untrained) == 1 else "are",
        them="it" if len(untrained) == 1 else "them",
    )


def list_training_labels(data: ReportData) -> str:
    """How many labelled examples each method learned from, those with the same number together."""
    by_count: dict[Range, list[str]] = {}
    for method in (method for method in data.methods if not data.control_of(method)):
        by_count.setdefault(count_training_labels(data, method), []).append(method)
    by_count.pop((0, 0), None)
    return "; ".join(f"{_join_names(data, names)}: {_say_range(*count)}" for count, names in by_count.items())


def _emphasize(data: ReportData, methods: Sequence[str]) -> Text:
    return join_items([Emphasis((data.display_name(method),)) for method in methods])


def _join_names(data: ReportData, methods: Sequence[str]) -> str:
    return ", ".join(data.display_name(method) for method in methods)


def _say_range(low: int, high: int) -> str:
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def format_training_labels(cell: Record) -> str:
    """Labelled examples behind a cell, from the fewest to the most of its seeds."""
    low, high = cell["fewest_training_labels"], cell["training_labels"]
    return f"{low:,}" if low == high else f"{low:,}–{high:,}"
