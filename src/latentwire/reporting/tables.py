"""All tables in their order, and the table of a task: statistics → rows, each with the ids of its numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from latentwire.errors import EvidenceError
from latentwire.reporting.appendix import build_appendix_tables
from latentwire.reporting.class_tables import build_class_tables
from latentwire.reporting.control_table import build_controls_table
from latentwire.reporting.document import (
    Column,
    Emphasis,
    Math,
    RowGroup,
    Table,
    TableRow,
    Text,
    compose_text,
    join_items,
)
from latentwire.reporting.family_tables import (
    ABLATIONS,
    BASELINES,
    build_ablations_table,
    build_baselines_table,
    build_chance_table,
)
from latentwire.reporting.main_table import build_main_table
from latentwire.reporting.number_format import (
    PERCENT,
    capitalize,
    decimals_for,
    emphasize_best,
    format_interval,
    format_points,
    whole_digits,
)
from latentwire.reporting.report_data import METRIC_HEADS, METRIC_NAMES, Record, ReportData, Revision
from latentwire.reporting.samples_table import build_sample_tables
from latentwire.reporting.setup_tables import build_setup_tables
from latentwire.reporting.shared_rows import (
    CHECKPOINT,
    DETECTABLE,
    METHOD,
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
    opposed_sentence,
    receiver_title,
    unique_ids,
)
from latentwire.reporting.supervision import format_training_labels
from latentwire.reporting.unseen_table import build_unseen_table

REFERENCE = "versus_reference"


def build_tables(data: ReportData, revision: Revision | None = None) -> list[Table]:
    """Every numbered table of the report; without a `revision` the checklist says that it is not known.

    Raises:
        EvidenceError: A task is called as a table is, so that one would be written over the other.
    """
    tables = [build_main_table(data)] if data.stats["main"] else []
    tables += [*(build_task_table(data, task) for task in data.tasks), build_chance_table(data)]
    if BASELINES in data.stats["families"]:
        tables.append(build_baselines_table(data))
    if ABLATIONS in data.stats["families"]:
        tables.append(build_ablations_table(data))
    if data.stats["controls"]:
        tables.append(build_controls_table(data))
    if data.stats["unseen"]:
        tables.append(build_unseen_table(data))
    tables += [*build_setup_tables(data), *build_sample_tables(data)]
    tables += [*build_class_tables(data), *build_appendix_tables(data, revision)]
    _check_names([table.name for table in tables])
    return tables


def build_task_table(data: ReportData, task: str) -> Table:
    """Accuracy of every method on one task, with the difference from the reference, a block per receiver."""
    blocks = [_without_controls(data, data.get_block(task, receiver)) for receiver in data.receivers]
    rows = [row for block in blocks for row in block["rows"]]
    cells = [data.get_cell(row["cell"]) for row in rows]
    decimals = decimals_for([cell["high"] - cell["low"] for cell in cells])
    differences = [row[REFERENCE] for row in rows if row[REFERENCE]]
    notes = family_notes(data, differences, [task])
    groups = tuple(_receiver_group(data, block, decimals) for block in blocks)
    return Table(
        name=task,
        caption=_task_caption(data, task),
        columns=_task_columns(data, task, notes, (whole_digits([cell["value"] for cell in cells]), decimals)),
        groups=groups,
        notes=(merge_sentences(*_task_sentences(data, task, notes, differences)),),
        signatures=notes.signatures,
        ids=unique_ids([key for group in groups for row in group.rows for key in row.ids]),
        density="dense",
    )


def _without_controls(data: ReportData, block: Record) -> Record:
    """The rows of a block; controls have a table of their own, with what is to be expected of them."""
    return {**block, "rows": [row for row in block["rows"] if not data.control_of(row["method"])]}


def _task_caption(data: ReportData, task: str) -> Text:
    return compose_text(
        "{metric} (%) on {task}, with the other metrics beside.\n"
        "Δ is the paired difference from {reference} in points.",
        metric=capitalize(METRIC_NAMES[data.metric_of(task)]),
        task=data.display_name(task),
        reference=Emphasis((data.reference_name,)),
    )


def _task_columns(data: ReportData, task: str, notes: FamilyNotes, digits: tuple[int, int]) -> tuple[Column, ...]:
    return (
        *(Column(("Method",), width=NAMES), Column(("Labels",), align="right"), Column(("Seeds",), align="right")),
        *(Column((METRIC_HEADS[metric],), align="right", digits=digits) for metric in _other_metrics(data, task)),
        *(Column((METRIC_HEADS[data.metric_of(task)],), align="right", digits=digits), interval_column(data)),
        *difference_columns(data, notes, digits),
    )


def _other_metrics(data: ReportData, task: str) -> list[str]:
    """The metrics beside the one that the task is judged by."""
    return [metric for metric in data.metrics if metric != data.metric_of(task)]


def _receiver_group(data: ReportData, block: Record, decimals: int) -> RowGroup:
    rows = tuple(_task_row(data, block, row, decimals) for row in block["rows"])
    return RowGroup(receiver_title(data, block["receiver"]), rows)


def _task_row(data: ReportData, block: Record, row: Record, decimals: int) -> TableRow:
    cell, key = data.get_cell(row["cell"]), row[REFERENCE]
    others = [data.same_cell(row["cell"], metric) for metric in _other_metrics(data, cell["task"])]
    best = row["method"] == block["best"] or row["method"] in block["tied"]
    return TableRow(
        (
            method_cell(data, row["method"], key),
            (format_training_labels(cell),),
            (str(cell["S"]),),
            *((format_points(data.get_cell(other)["value"], decimals),) for other in others),
            emphasize_best(format_points(cell["value"], decimals), best),
            (format_interval(cell["low"], cell["high"], decimals),),
            *difference_cells(data, key, decimals),
        ),
        join_ids(row["cell"], key, *others),
    )


def _task_sentences(data: ReportData, task: str, notes: FamilyNotes, differences: Sequence[str]) -> Iterator[Text]:
    """What the columns mean stands under the table of the first task."""
    if task == data.tasks[0]:
        yield from _column_sentences(data, notes)
    else:
        yield (f"Columns and signs are those of the table of {data.display_name(data.tasks[0])}.\n",)
    yield from opposed_sentence(data, differences)
    yield from _exceptional_notes(data, task)
    yield from notes.final_sentences()


def _column_sentences(data: ReportData, notes: FamilyNotes) -> Iterator[Text]:
    zero = any(cell["training_labels"] == 0 for cell in data.stats["cells"].values())
    yield compose_text(
        "Labels: labelled examples that each was trained on{zero}.\n"
        "Bold: the best of a block, and methods that neither differ from it ({adjustment}, {alpha}) nor fail to keep\n"
        "{retained} of it. ",
        zero="; rows with 0 are zero-shot" if zero else "",
        adjustment=notes.adjustment,
        alpha=Math((f"α = {notes.alpha}",)),
        retained=data.retained + PERCENT,
    )
    yield dagger_sentence(data, notes, "score")
    yield notes.family_sentence(data.reference_name)
    chance = data.get_setting("chance")
    if chance != data.get_setting("reference"):
        yield compose_text(
            "{chance} has no Δ: its difference stands, the other way round, in the table of differences from chance.\n",
            chance=Emphasis((data.display_name(chance),)),
        )
    yield (DETECTABLE,)
    yield compose_text(
        "Rows with several seeds speak of {method} (seeds and examples vary), rows with one of {checkpoint} "
        "(examples vary).\n",
        method=METHOD,
        checkpoint=CHECKPOINT,
    )


def _exceptional_notes(data: ReportData, task: str) -> Iterator[Text]:
    """What holds for some tasks only."""
    absent = data.stats["tasks"][task]["absent"]
    cells = [cell for cell in data.stats["cells"].values() if cell["task"] == task]
    once = {cell["method"] for cell in cells if cell["seed_variance"] == "not estimated"}
    if once & set(data.trained_methods):
        yield compose_text(
            "One trained run only of {methods}: seed variance not estimated.\n",
            methods=join_items([Emphasis((data.display_name(m),)) for m in data.trained_methods if m in once]),
        )
    if absent:
        yield compose_text("Classes without a test {kind}: {labels}.\n", kind=data.example, labels=join_items(absent))
    how = "two-way variance" if data.metric_of(task) == "accuracy" else "variance of the crossed bootstrap"
    yield (f"Intervals of scores are Wilson's, from the {how} and its degrees of freedom.\n",)


def _check_names(names: Sequence[str]) -> None:
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise EvidenceError(
            f"Two tables would be written to reports/tables/{twice[0]}.tex, expected a name for each. "
            "Next: give the task another key in params.yaml, then `dvc repro`."
        )
