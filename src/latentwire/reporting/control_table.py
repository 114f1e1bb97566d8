"""The table of the controls: what is right though nothing of the example, or of its label, was to be had."""

from __future__ import annotations

from latentwire.reporting.document import Column, Strong, Table, TableRow, Text
from latentwire.reporting.excess_rows import (
    excess_cells,
    excess_columns,
    excess_digits,
    excess_sentences,
    excess_table,
)
from latentwire.reporting.number_format import PERCENT, format_points
from latentwire.reporting.report_data import Record, ReportData

CONTROLS, LEAK = "controls", "leak"
NO_VARIANCE, CONSTANT = "the scores do not vary", "one answer to all"
DETECTABLE: Text = (
    f"MDE: the smallest true Δ that is found with 80{PERCENT} power after the correction; no leak shown is no proof "
    "that there is none below it.\n",
)


def build_controls_table(data: ReportData) -> Table:
    """Every control against its own answers in another order, a group per task."""
    digits = excess_digits(data.get_excesses(CONTROLS))
    caption = (
        "Controls: receivers that do not read the example's own wire, or one that was trained on permuted labels. "
        "Expected: what the same answers give in another order, the chance level of a control.",
    )
    columns = (
        *(Column(("Receiver",)), Column(("Control",)), *excess_columns(data, digits)),
        *(Column(("MDE",), align="right", digits=digits), Column(("Verdict",))),
    )
    notes = (*excess_sentences(data, CONTROLS), DETECTABLE)
    return excess_table(
        data, CONTROLS, caption, columns, lambda record: data.display_name(record["task"]),
        lambda record: _row(data, record, digits[1]), notes,
    )  # fmt: skip


def _row(data: ReportData, record: Record, decimals: int) -> TableRow:
    cells: tuple[Text, ...] = (
        (data.display_name(record["receiver"]),),
        (data.display_name(record["method"]),),
        *excess_cells(record, decimals),
        (format_points(record["mde"], decimals),),
        _verdict(record),
    )
    return TableRow(cells, (record["id"],))


def _verdict(record: Record) -> Text:
    if record["verdict"] == LEAK:
        return (Strong((LEAK,)),)
    return (CONSTANT,) if record["reason"] == NO_VARIANCE else (str(record["verdict"]),)
