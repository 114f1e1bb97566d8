"""The set-up of an experiment with stages of its own: its parameters, as they stand there, and what was counted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from latentwire.reporting.document import Code, Piece, RowGroup, TableRow, Text, compose_text, join_items, join_texts
from latentwire.reporting.number_format import count_of, format_percent
from latentwire.reporting.report_data import METRIC_NAMES, ReportData
from latentwire.reporting.supervision import list_training_labels

SPLITS = ("train", "validation", "test")
COUNTED = ("steps", "mode")
"""Parameters of a training that every experiment has; the others stand there by their keys."""


def list_own_groups(data: ReportData) -> list[RowGroup]:
    """Methods, training, tasks and numerics."""
    parts = {"Methods": _method_rows, "Training": _training_rows, "Tasks": _task_rows, "Numerics": _numerics_rows}
    return [
        RowGroup((title,), tuple(TableRow(((name,), words)) for name, words in rows(data)))
        for title, rows in parts.items()
    ]


def _method_rows(data: ReportData) -> Iterator[tuple[str, Text]]:
    for method in data.trained_methods:
        about = data.stats["setup"]["methods"][method]
        sizes: list[Text] = [(f"{count_of(about['parameters'], 'trained number')}",)] if about["parameters"] else []
        yield data.display_name(method), join_texts([*_list_settings(about["settings"]), *sizes], ", ")


def _training_rows(data: ReportData) -> Iterator[tuple[str, Text]]:
    about = data.stats["setup"]["training"]
    others = {name: value for name, value in about.items() if name not in COUNTED}
    yield "Length", (f"{count_of(about['steps'], 'step')}",)
    if others:
        yield "Parameters", join_texts(list(_list_settings(others)), ", ")
    yield "Labelled examples", (f"learned from, on each task: {list_training_labels(data)}",)
    seeds = [f"{data.display_name(m)}: {', '.join(map(str, _seeds(data, m)))}" for m in data.trained_methods]
    yield "Seeds", ("; ".join(seeds),)


def _seeds(data: ReportData, method: str) -> list[int]:
    return list(data.stats["methods"][method]["seeds"])


def _task_rows(data: ReportData) -> Iterator[tuple[str, Text]]:
    for task in data.tasks:
        about, found = data.stats["setup"]["tasks"][task], data.stats["tasks"][task]
        counts: list[Piece] = [f"{about['splits'][split]:,} {split}" for split in SPLITS]
        words = compose_text(
            "{counts} examples; {classes} in the test split, the largest with {largest} of it; judged by {metric}",
            counts=join_items(counts),
            classes=count_of(len(found["counts"]), "class", "classes"),
            largest=format_percent(found["largest_class"]),
            metric=METRIC_NAMES[data.metric_of(task)],
        )
        yield data.display_name(task), join_texts([words, *_list_settings(about["settings"])], ", ")


def _numerics_rows(data: ReportData) -> Iterator[tuple[str, Text]]:
    runtime, mode = data.stats["setup"]["runtime"], data.stats["setup"]["training"]["mode"]
    yield "Device", (f"{runtime['device']}, {runtime['numerics']} kernels; {mode} mode",)


def _list_settings(settings: Mapping[str, Any], before: str = "") -> Iterator[Text]:
    """Every parameter by its key; those within another one by both."""
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _list_settings(value, f"{before}{name}.")
        else:
            yield (Code(f"{before}{name}"), f" {_say(value)}")


def _say(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_say, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
