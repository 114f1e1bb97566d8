"""The tables of one family of differences each: against chance, against the baselines, and the ablations."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from latentwire.reporting.document import Column, Emphasis, RowGroup, Table, TableRow, Text, compose_text
from latentwire.reporting.number_format import decimals_for, format_points, whole_digits
from latentwire.reporting.report_data import METRIC_HEADS, METRIC_NAMES, Record, ReportData
from latentwire.reporting.shared_rows import (
    NAMES,
    VERDICTS,
    difference_cells,
    difference_columns,
    family_notes,
    merge_sentences,
    opposed_sentence,
    receiver_cell,
    receiver_column,
    unique_ids,
    verdict_cell,
)

CHANCE, BASELINES, ABLATIONS = "versus_chance", "versus_baselines", "ablations"


def build_chance_table(data: ReportData) -> Table:
    """Every method against the majority class."""
    family = data.get_family(CHANCE)
    places = [*data.receivers, *sorted({record["receiver"] for record in family} - set(data.receivers))]
    caption = compose_text(
        "Every method against chance: Δ is the paired difference in points from {chance}, the class that is most\n"
        "frequent in the training split.",
        chance=Emphasis((data.display_name(data.get_setting("chance")),)),
    )
    records = sorted(family, key=lambda record: places.index(record["receiver"]))
    return _FamilyTable(data, CHANCE, records).build(caption)


def build_baselines_table(data: ReportData) -> Table:
    """Trained methods against every baseline."""
    caption = compose_text(
        "Trained methods against every baseline but chance: Δ is the paired difference in points, method minus\n"
        "baseline. {worse} means that the baseline wins.",
        worse=Emphasis(("Worse",)),
    )
    return _FamilyTable(data, BASELINES, data.get_family(BASELINES), "Baseline").build(caption)


def build_ablations_table(data: ReportData) -> Table:
    """The trained method against its variants and controls."""
    if not data.has_receivers:
        each_other = "Trained methods against each other: Δ is the paired difference in points, first minus second."
        return _FamilyTable(data, ABLATIONS, data.get_family(ABLATIONS), "Second").build((each_other,))
    bits = " its wire at fewer bits," if data.has_quantised else ""
    caption = (
        "Ablations: what the method loses with one thing changed. Δ is the paired difference in points, method minus "
        f"the changed one: a variant of its parameters,{bits} or a control that does not read the text's own wire. "
        "Bytes: what an example costs with it.",
    )
    return _FamilyTable(data, ABLATIONS, data.get_family(ABLATIONS), "Changed", costs=True).build(caption)


@dataclass(frozen=True)
class _FamilyTable:
    """A row per difference of a family."""

    data: ReportData
    name: str
    records: Sequence[Record]
    second: str = ""
    """Head of the column of the second method; without it, seeds and accuracies of the first stand there."""
    costs: bool = False
    """Whether the bytes of an example for the second method stand behind its name."""

    @property
    def decimals(self) -> int:
        return decimals_for([r["high"] - r["low"] for r in self.records if r["low"] is not None])

    def build(self, caption: Text) -> Table:
        keys = [record["id"] for record in self.records]
        notes = family_notes(self.data, keys)
        digits = (whole_digits([record["value"] for record in self.records]), self.decimals)
        differences = difference_columns(self.data, notes, digits)
        return Table(
            name=self.name,
            caption=caption,
            columns=(*self._first_columns(digits), *differences, Column(("Verdict",), width=VERDICTS)),
            groups=tuple(self._task_group(task) for task in self.data.tasks),
            notes=(merge_sentences(*opposed_sentence(self.data, keys), *notes.table_sentences()),),
            signatures=notes.signatures,
            ids=unique_ids([*self._accuracy_ids(), *keys]),
            density="tight",
        )

    def _first_columns(self, digits: tuple[int, int]) -> tuple[Column, ...]:
        if self.second:
            named = (*receiver_column(self.data), Column(("Method",)), Column((self.second,), width=NAMES))
            return (*named, Column(("Bytes",), align="right")) if self.costs else named
        head = METRIC_HEADS[self.data.get_setting("metric_of_mean")]
        score = Column((head,), align="right", digits=digits)
        methods, seeds = Column(("Method",), width=NAMES), Column(("Seeds",), align="right")
        return (*receiver_column(self.data, "Answers"), methods, seeds, score)

    def _task_group(self, task: str) -> RowGroup:
        """The differences on one task; a receiver is named in the first of its rows only."""
        records = [record for record in self.records if record["task"] == task]
        above = [None, *(record["receiver"] for record in records)]
        rows = (self._row(record, record["receiver"] == name) for record, name in zip(records, above, strict=False))
        title = f"{self.data.display_name(task)}: {METRIC_NAMES[self.data.metric_of(task)]}"
        return RowGroup((title,), tuple(rows))

    def _row(self, record: Record, repeated: bool) -> TableRow:
        receiver = receiver_cell(self.data, record["receiver"])
        cells = (
            *(((),) * len(receiver) if repeated else receiver),
            (self.data.display_name(record["a"]),),
            *self._second_cells(record),
            *difference_cells(self.data, record["id"], self.decimals),
            verdict_cell(record["verdict"]),
        )
        return TableRow(cells, (record["id"],))

    def _second_cells(self, record: Record) -> tuple[Text, ...]:
        if self.second:
            named: Text = (self.data.display_name(record["b"]),)
            return (named, (f"{self._bytes_of_second(record):,.0f}",)) if self.costs else (named,)
        cell = self.data.get_cell(self._cell_id(record))
        return ((str(cell["S"]),), (format_points(cell["value"], self.decimals),))

    def _bytes_of_second(self, record: Record) -> float:
        cells = self.data.stats["cells"].values()
        side = (record["task"], record["b"])
        return float(next(cell["bytes_per_example"] for cell in cells if (cell["task"], cell["method"]) == side))

    def _accuracy_ids(self) -> Iterator[str]:
        """Ids of the accuracies that the table prints."""
        if not self.second:
            yield from map(self._cell_id, self.records)

    def _cell_id(self, record: Record) -> str:
        """Id of the accuracy of the first method of a difference."""
        method = self.data.stats["methods"][record["a"]]
        model = record["receiver"] if method["reads_receiver"] else method["models"][0]
        return self.data.cell_id(record["task"], model, record["a"])
