"""The table of the controls: what is right though the example's own wire was not read."""

from __future__ import annotations

from latentwire.reporting.document import Column, RowGroup, Strong, Table, TableRow, Text, compose_text
from latentwire.reporting.number_format import (
    PERCENT,
    decimals_for,
    format_p_value,
    format_points,
    format_signed,
    whole_digits,
)
from latentwire.reporting.report_data import Record, ReportData
from latentwire.reporting.shared_rows import ADJUSTMENTS, corrected_p, merge_sentences, unique_ids

LEAK = "leak"


def build_controls_table(data: ReportData) -> Table:
    """Every control against its own answers in another order, a group per task."""
    records = data.get_controls()
    decimals = decimals_for([4 * record["error"] for record in records])
    digits = (whole_digits([record["accuracy"] for record in records]), decimals)
    return Table(
        name="controls",
        caption=(
            "Controls: receivers that do not read the example's own wire. Expected: what the same answers give in "
            "another order, the chance level of a control; Δ: how much more is right, in points.",
        ),
        columns=(
            *(Column(("Receiver",)), Column(("Control",)), Column(("Seeds",), align="right")),
            *(Column((head,), align="right", digits=digits) for head in ("Acc.", "Expected")),
            Column(("Δ",), align="right", digits=digits, signed=True),
            *(Column((corrected_p(data),), align="right"), Column(("MDE",), align="right", digits=digits)),
            Column(("Verdict",)),
        ),
        groups=tuple(_task_group(data, records, task, decimals) for task in data.tasks),
        notes=(merge_sentences(_note(data, len(records))),),
        signatures=tuple(sorted({record["signature"] for record in records})),
        ids=unique_ids([record["id"] for record in records]),
    )


def _task_group(data: ReportData, records: list[Record], task: str, decimals: int) -> RowGroup:
    rows = tuple(_row(data, record, decimals) for record in records if record["task"] == task)
    return RowGroup((data.display_name(task),), rows)


def _row(data: ReportData, record: Record, decimals: int) -> TableRow:
    cells: tuple[Text, ...] = (
        (data.display_name(record["receiver"]),),
        (data.display_name(record["method"]),),
        (str(record["S"]),),
        (format_points(record["accuracy"], decimals),),
        (format_points(record["expected"], decimals),),
        (format_signed(record["value"], decimals),),
        format_p_value(record["p_adjusted"]),
        (format_points(record["mde"], decimals),),
        (Strong((LEAK,)),) if record["verdict"] == LEAK else (_no_leak(record),),
    )
    return TableRow(cells, (record["id"],))


def _no_leak(record: Record) -> str:
    return "one answer to all" if record["reason"] else str(record["verdict"])


def _note(data: ReportData, count: int) -> Text:
    return compose_text(
        "{p}: one-sided permutation test ({draws} orders of the answers, seeds together), corrected ({adjustment}) "
        "over the {count} controls of this table.\nMDE: the smallest true Δ that is found with 80{percent} power after "
        "the correction; no leak shown is no proof that there is none below it.\n",
        p=corrected_p(data),
        draws=f"{data.get_setting('resamples'):,}",
        adjustment=ADJUSTMENTS[data.get_setting("adjust")],
        count=count,
        percent=PERCENT,
    )
