"""The tables of the classes: recall of every class, and what a trained method says in its place."""

from __future__ import annotations

from collections.abc import Sequence

from latentwire.reporting.document import Column, RowGroup, Table, TableRow, Text, compose_text, join_items
from latentwire.reporting.number_format import MISSING, count_of, format_points
from latentwire.reporting.report_data import Record, ReportData
from latentwire.reporting.shared_rows import receiver_title, unique_ids

MOST_CLASSES = 16
"""Classes that a table shows, those with most test texts; the others stand in stats.json."""
MOST_METHODS = 4
"""Methods that it shows, the trained ones first."""


def build_class_tables(data: ReportData) -> list[Table]:
    """A table of each task, a group per receiver."""
    return [_class_table(data, task) for task in data.tasks]


def list_errors(data: ReportData, method: str) -> list[Text]:
    """A sentence for every task and receiver: classes never right, and the confusion that costs most answers."""
    return [
        _errors_sentence(data, data.stats["classes"][data.cell_id(task, model, method, "classes")])
        for task in data.tasks
        for model in data.stats["methods"][method]["models"]
    ]


def _errors_sentence(data: ReportData, record: Record) -> Text:
    gold, said, count = max(_confusions(record), key=lambda found: found[2], default=(None, None, 0))
    never = record["never_right"]
    words = (
        f"never right for {len(never)} of {count_of(len(record['recall']), 'class', 'classes')} ({', '.join(never)})"
        if never
        else ""
    )
    most = (
        f"most often {said} for {gold}, {count_of(count, 'answer')} over {count_of(record['S'], 'run')}"
        if gold
        else "no wrong answer"
    )
    return compose_text(
        "{place}: {words}.\n",
        place=data.place_name({**record, "receiver": record["model"]}),
        words=join_items([part for part in (words, most) if part]),
    )


def _confusions(record: Record) -> list[tuple[str, str, int]]:
    """(right label, label that was said, how often) of all wrong answers."""
    return [(gold, said, n) for gold, counts in record["said"].items() for said, n in counts.items() if said != gold]


def _class_table(data: ReportData, task: str) -> Table:
    counts = data.stats["tasks"][task]["counts"]
    classes = sorted(counts, key=lambda label: (-counts[label], label))[:MOST_CLASSES]
    groups = tuple(_receiver_group(data, task, receiver, classes) for receiver in data.receivers)
    methods = _shown_methods(data)
    return Table(
        name=f"recall_{task}",
        caption=compose_text(
            "Recall (%) of the classes of {task}, and what {method} says most often in the place of each.",
            task=data.display_name(task),
            method=data.display_name(methods[0]),
        ),
        columns=(
            Column(("Class",)),
            Column((f"{data.example.capitalize()}s",), align="right"),
            *(Column((data.display_name(method),), align="right") for method in methods),
            Column(("Said instead",)),
        ),
        groups=groups,
        notes=(_note(data, len(counts)),),
        ids=unique_ids([key for group in groups for row in group.rows for key in row.ids]),
        density="dense",
    )


def _note(data: ReportData, classes: int) -> Text:
    kind = f"{data.example}s"
    rest = f" The {MOST_CLASSES} classes with most test {kind} of {classes}." if classes > MOST_CLASSES else ""
    return (f"A mean over seeds. In brackets: share of the answers to the {kind} of the class.{rest}",)


def _shown_methods(data: ReportData) -> list[str]:
    wanted = [*data.trained_methods, data.get_setting("reference"), *data.baseline_methods]
    chance = data.get_setting("chance")
    return [method for method in dict.fromkeys(wanted) if method != chance][:MOST_METHODS]


def _receiver_group(data: ReportData, task: str, receiver: str, classes: Sequence[str]) -> RowGroup:
    rows = data.get_block(task, receiver)["rows"]
    cells = {row["method"]: data.same_cell(row["cell"], "classes") for row in rows}
    shown = _shown_methods(data)
    keys = [cells.get(method) for method in shown]
    return RowGroup(
        receiver_title(data, receiver),
        tuple(_class_row(data, task, label, keys) for label in classes),
    )


def _class_row(data: ReportData, task: str, label: str, keys: Sequence[str | None]) -> TableRow:
    records = [data.stats["classes"][key] if key else None for key in keys]
    recalls = [(format_points(record["recall"][label]) if record else MISSING,) for record in records]
    count = data.stats["tasks"][task]["counts"][label]
    instead = _said_instead(records[0], label) if records[0] else MISSING
    return TableRow(((label,), (str(count),), *recalls, (instead,)), tuple(key for key in keys if key))


def _said_instead(record: Record, label: str) -> str:
    wrong = {said: count for said, count in record["said"][label].items() if said != label}
    if not wrong:
        return MISSING
    most = max(wrong, key=lambda said: wrong[said])
    return f"{most} ({format_points(wrong[most] / sum(record['said'][label].values()))})"
