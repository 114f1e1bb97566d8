"""What the tables of controls and of unseen words share: the excess of right answers over those in another order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby

from latentwire.reporting.document import Column, RowGroup, Table, TableRow, Text, compose_text
from latentwire.reporting.number_format import (
    decimals_for,
    format_interval,
    format_p_value,
    format_points,
    format_signed,
    whole_digits,
)
from latentwire.reporting.report_data import Record, ReportData
from latentwire.reporting.shared_rows import ADJUSTMENTS, corrected_p, interval_column, merge_sentences, unique_ids


def excess_table(
    data: ReportData, section: str, caption: Text, columns: Sequence[Column], title: Callable[[Record], str],
    row: Callable[[Record], TableRow], notes: Sequence[Text],
) -> Table:  # fmt: skip
    """The table of a section of the statistics, a `row` for each of its records, a group for each title."""
    records = sorted(data.get_excesses(section), key=lambda record: data.tasks.index(record["task"]))
    return Table(
        name=section,
        caption=caption,
        columns=tuple(columns),
        groups=tuple(RowGroup((head,), tuple(map(row, alike))) for head, alike in groupby(records, title)),
        notes=(merge_sentences(*notes),),
        signatures=tuple(sorted({one["signature"] for record in records for one in (record, _excess(record))})),
        ids=unique_ids([record["id"] for record in records]),
        density="dense",
    )


def excess_digits(records: Sequence[Record]) -> tuple[int, int]:
    """Digits before and after the point that these records deserve."""
    widths = [found["high"] - found["low"] for found in map(_excess, records) if found["low"] is not None]
    return whole_digits([_accuracy(record) for record in records]), decimals_for(widths)


def excess_columns(data: ReportData, digits: tuple[int, int]) -> tuple[Column, ...]:
    """Columns of what `excess_cells` gives."""
    return (
        Column(("Seeds",), align="right"),
        *(Column((head,), align="right", digits=digits) for head in ("Acc.", "Expected")),
        *(Column(("Δ",), align="right", digits=digits, signed=True), interval_column(data)),
        Column((corrected_p(data),), align="right"),
    )


def excess_cells(record: Record, decimals: int) -> tuple[Text, ...]:
    """Accuracy, what is expected in another order, and the difference with its interval and p."""
    excess = _excess(record)
    return (
        (str(record["S"]),),
        (format_points(_accuracy(record), decimals),),
        (format_points(record["expected"], decimals),),
        (format_signed(excess["value"], decimals),),
        (format_interval(excess["low"], excess["high"], decimals, sign=True),),
        format_p_value(record["p_adjusted"]),
    )


def _excess(record: Record) -> Record:
    """A control is an excess, a set of unseen words an accuracy that has one."""
    return dict(record.get("excess", record))


def _accuracy(record: Record) -> float:
    return float(record["value"] if "excess" in record else record["accuracy"])


def excess_sentences(data: ReportData, family: str) -> Iterator[Text]:
    """How the excess over answers in another order is tested, in the notes of a table that shows the whole family."""
    tested, members = (data.stats["families"][family][key] for key in ("m", "members"))
    yield ("Δ: Acc. minus what is expected, in points; its interval is two-sided and not corrected.\n",)
    if tested:
        yield compose_text(
            "{p}: one-sided t test of Δ over trainings and texts, corrected ({adjustment}) over the {tested} rows of "
            "this table that have several trainings.\n",
            p=corrected_p(data),
            adjustment=ADJUSTMENTS[data.get_setting("adjust")],
            tested=tested,
        )
    if tested < len(members):
        yield (
            "One training may agree with kinds of texts by luck, and no test of the texts can tell: it has no verdict, "
            "and no interval.\n",
        )
    yield (
        "This test was chosen after the result of an earlier one had been seen. That one permuted the answers over the "
        "texts, as if texts were all that varies; but the claim is about trainings, which vary more.\n",
    )
