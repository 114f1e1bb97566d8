"""The main table: every method over all tasks, a block per receiver."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from latentwire.reporting.document import (
    Column,
    Emphasis,
    NoteMark,
    RowGroup,
    Table,
    TableRow,
    Text,
    compose_text,
    join_items,
)
from latentwire.reporting.number_format import decimals_for, format_interval, format_points, whole_digits
from latentwire.reporting.report_data import METRIC_NAMES, Record, ReportData
from latentwire.reporting.shared_rows import (
    NAMES,
    FamilyNotes,
    dagger_sentence,
    difference_cells,
    difference_columns,
    family_notes,
    interval_column,
    join_ids,
    merge_sentences,
    method_cell,
    receiver_title,
    unique_ids,
)

MOST_COLUMNS = 3
"""Tasks up to which each has a column of its own."""
MIXED = "‡"
MIXED_SIGNS = (
    f"{MIXED}: above the reference on one task and below it on another, which the mean hides; see their own tables.\n"
)
FIXED_TASKS = (
    "A seed is good or bad on all tasks at once, so seeds are averaged over the tasks before their spread is taken; "
    "the tasks themselves are fixed.\n"
)


def build_main_table(data: ReportData) -> Table:
    """Means over the tasks with their differences from the reference, and the accuracies that they are means of."""
    rows = [row for block in data.stats["main"] for row in block["rows"]]
    means = [data.get_average(row["average"]) for row in rows]
    decimals = decimals_for([mean["high"] - mean["low"] for mean in means if mean["low"] is not None])
    differences = [row["difference"] for row in rows if row["difference"]]
    notes = family_notes(data, differences)
    cells = [cell for row in rows for cell in _cell_ids(data, row)]
    return Table(
        name="main",
        caption=_caption(data),
        columns=tuple(_columns(data, notes, (whole_digits([mean["value"] for mean in means]), decimals))),
        groups=tuple(_receiver_group(data, block, decimals) for block in data.stats["main"]),
        notes=(merge_sentences(*_sentences(data, notes, differences)),),
        signatures=notes.signatures,
        ids=unique_ids([*(row["average"] for row in rows), *differences, *cells]),
        density="tight",
    )


def _caption(data: ReportData) -> Text:
    metrics = [f"{METRIC_NAMES[data.metric_of(task)]} on {data.display_name(task)}" for task in data.tasks]
    return compose_text(
        "Scores (%) over all tasks: {metrics}. Mean: unweighted, over these {count} tasks;\n"
        "Δ is its paired difference from that of {reference} in points.",
        metrics=join_items(metrics),
        count=len(data.tasks),
        reference=Emphasis((data.reference_name,)),
    )


def _shown_tasks(data: ReportData) -> list[str]:
    """Tasks that have a column of their own."""
    return data.tasks if len(data.tasks) <= MOST_COLUMNS else []


def _columns(data: ReportData, notes: FamilyNotes, digits: tuple[int, int]) -> Iterator[Column]:
    yield Column(("Method",), width=NAMES)
    yield Column(("Seeds",), align="right")
    for header in (*map(data.display_name, _shown_tasks(data)), "Mean"):
        yield Column((header,), align="right", digits=digits)
    yield interval_column(data)
    yield from difference_columns(data, notes, digits)


def _cell_ids(data: ReportData, row: Record) -> list[str]:
    """Ids of the accuracies that a mean is made of."""
    model = data.get_average(row["average"])["model"]
    return [data.cell_id(task, model, row["method"]) for task in _shown_tasks(data)]


def _receiver_group(data: ReportData, block: Record, decimals: int) -> RowGroup:
    rows = tuple(_row(data, row, decimals) for row in block["rows"])
    return RowGroup(receiver_title(data, block["receiver"]), rows)


def _row(data: ReportData, row: Record, decimals: int) -> TableRow:
    mean, key, ids = data.get_average(row["average"]), row["difference"], _cell_ids(data, row)
    return TableRow(
        (
            method_cell(data, row["method"], key),
            (str(mean["S"]),),
            *((format_points(data.get_cell(cell)["value"], decimals),) for cell in ids),
            (format_points(mean["value"], decimals),),
            (format_interval(mean["low"], mean["high"], decimals),),
            *_difference_cells(data, key, decimals),
        ),
        join_ids(row["average"], key, *ids),
    )


def _difference_cells(data: ReportData, key: str | None, decimals: int) -> tuple[Text, ...]:
    """As on one task, with a mark where the differences that the mean is made of have opposite signs."""
    difference, interval, *others = difference_cells(data, key, decimals)
    mixed = key is not None and data.get_comparison(key)["signs_differ"]
    return (difference, (*interval, NoteMark(MIXED)) if mixed else interval, *others)


def _sentences(data: ReportData, notes: FamilyNotes, differences: Sequence[str]) -> Iterator[Text]:
    yield (FIXED_TASKS,)
    if any(data.get_comparison(key)["signs_differ"] for key in differences):
        yield (MIXED_SIGNS,)
    yield dagger_sentence(data, notes, METRIC_NAMES[data.get_setting("metric_of_mean")])
    yield from notes.table_sentences()
