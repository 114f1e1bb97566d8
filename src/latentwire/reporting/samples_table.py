"""The tables of disagreement: how often a method and the reference answer differently, and texts on which they do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from latentwire.reporting.document import (
    Column,
    Emphasis,
    Piece,
    Quote,
    Reference,
    RowGroup,
    Strong,
    Table,
    TableRow,
    Text,
    compose_text,
)
from latentwire.reporting.report_data import Record, ReportData
from latentwire.reporting.shared_rows import receiver_cell, receiver_column

SECTION = "disagreements"
KINDS = ("both", "only_method", "only_reference", "same_error", "neither", "seeds_differ")
HEADS = ("Both right", "Only it", "Only reference", "Same error", "Two errors", "Seeds differ")
"""Heads of the columns of the kinds."""


def build_sample_tables(data: ReportData) -> list[Table]:
    """How many texts are of which kind, and one text of each kind."""
    return [_build_counts_table(data), _build_samples_table(data)]


def describe_disagreements(data: ReportData) -> Text:
    """What the two tables show, and by which rule their texts were chosen."""
    return compose_text(
        "{counts} counts on which {kind}s a trained method and {reference} part; an answer of the method counts where "
        "all its seeds give it. {samples} has the first {kind} of each kind in the order of the example ids, which are "
        "hashes of the {kind}s.\n",
        kind=data.example,
        counts=("Table\u00a0", Reference("tab:disagreements")),
        samples=("Table\u00a0", Reference("tab:samples")),
        reference=Emphasis((data.reference_name,)),
    )


def _build_counts_table(data: ReportData) -> Table:
    records = data.stats[SECTION]
    return Table(
        name="disagreements",
        caption=compose_text(
            "Test {kind}s by who is right: a trained method, whose seeds agree, and {reference}.",
            kind=data.example,
            reference=Emphasis((data.reference_name,)),
        ),
        columns=(
            *(*receiver_column(data), Column(("Method",))),
            *(Column((head,), align="right") for head in HEADS),
        ),
        groups=tuple(_counts_group(data, task) for task in data.tasks),
        notes=(("Same error, two errors: both are wrong, with the same answer or with different ones.",),),
        signatures=tuple(sorted({record["signature"] for record in records.values()})),
        ids=tuple(records),
        density="dense",
    )


def _counts_group(data: ReportData, task: str) -> RowGroup:
    rows = [
        TableRow(
            (
                *receiver_cell(data, record["receiver"]),
                (data.display_name(record["a"]),),
                *((f"{record['counts'][kind]:,}",) for kind in KINDS),
            ),
            (key,),
        )
        for key, record in _records(data, task)
    ]
    return RowGroup((data.display_name(task),), tuple(rows))


def _records(data: ReportData, task: str) -> Iterator[tuple[str, Record]]:
    """The records of a task, in the order of methods and receivers."""
    records = [(key, record) for key, record in data.stats[SECTION].items() if record["task"] == task]
    yield from sorted(records, key=lambda one: (data.methods.index(one[1]["a"]), _place_of(data, one[1])))


def _place_of(data: ReportData, record: Record) -> int:
    return data.receivers.index(record["receiver"])


def _build_samples_table(data: ReportData) -> Table:
    return Table(
        name="samples",
        caption=compose_text(
            "{kind}s on which a trained method and {reference} part, the first of each kind by id; right answers are "
            "bold.",
            kind=data.example.capitalize(),
            reference=Emphasis((data.reference_name,)),
        ),
        columns=(
            *receiver_column(data, width="0.8in"),
            Column((data.example.capitalize(),), width="3.05in"),
            *(Column((head,), width="0.72in") for head in ("Label", "Method", "Reference")),
        ),
        groups=tuple(_sample_groups(data)),
        ids=tuple(data.stats[SECTION]),
        density="dense",
    )


def _sample_groups(data: ReportData) -> Iterator[RowGroup]:
    for task in data.tasks:
        words = data.stats["setup"]["tasks"][task]["labels"]
        for method in data.main_methods:
            rows = tuple(_sample_rows(data, task, method, words))
            if rows:
                yield RowGroup((f"{data.display_name(task)}: {data.display_name(method)}",), rows)


def _sample_rows(data: ReportData, task: str, method: str, words: Mapping[str, str]) -> Iterator[TableRow]:
    for key, record in _records(data, task):
        for sample in record["samples"].values() if record["a"] == method else ():
            if sample is not None:
                yield TableRow(tuple(_sample_cells(data, record, sample, words)), (key,))


def _sample_cells(data: ReportData, record: Record, sample: Record, words: Mapping[str, str]) -> Iterator[Text]:
    yield from receiver_cell(data, record["receiver"])
    yield (Quote(sample["text"]),)
    yield (_word(sample["gold"], words),)
    for answer in (sample["method"], sample["reference"]):
        word = _word(answer, words)
        yield (Strong((word,)),) if answer == sample["gold"] else (word,)


def _word(label: str, words: Mapping[str, str]) -> Piece:
    return Quote(words[label].strip(), verbatim=True)
