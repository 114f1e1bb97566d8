"""The table of unseen words: what a wire answers when it is asked for words that no training named."""

from __future__ import annotations

from functools import partial

from latentwire.reporting.document import Column, Reference, Table, TableRow, Text, compose_text
from latentwire.reporting.excess_rows import (
    excess_cells,
    excess_columns,
    excess_digits,
    excess_sentences,
    excess_table,
)
from latentwire.reporting.number_format import count_of
from latentwire.reporting.report_data import Record, ReportData

UNSEEN, ABOVE = "unseen", "above chance"
UNTESTED = "the answers of one training were not tested"
SHOWN = 3
"""Words of a set that are printed; the others stand in `params.yaml`."""


def build_unseen_table(data: ReportData) -> Table:
    """Accuracy with every set of words, beside what its answers give in another order, a group for each set."""
    digits = excess_digits(data.get_excesses(UNSEEN))
    caption = (
        f"Unseen words: {_sent(data)}s that are asked for words which no training named. Expected: what the same "
        "answers give in another order, which is chance.",
    )
    columns = (
        *(Column(("Receiver",)), Column(("Method",))),
        *(*excess_columns(data, digits), Column(("Verdict",))),
    )
    notes = (_score_words(data), *excess_sentences(data, UNSEEN))
    return excess_table(
        data, UNSEEN, caption, columns, partial(_title, data), lambda record: _row(data, record, digits[1]), notes
    )


def describe_unseen(data: ReportData) -> Text:
    """In how many of the cases that were tested receivers answered other words above chance."""
    tested = data.stats["families"][UNSEEN]["m"]
    above = sum(record["verdict"] == ABOVE for record in data.get_excesses(UNSEEN))
    cases = count_of(tested, "case")
    return compose_text(
        "A {sent} that carried the words of its labels alone would answer other words by chance. Asked for words that "
        "no training named, {answers} ({table}).\n",
        sent=_sent(data),
        answers=f"answers were shown to be above chance in {above} of {cases}" if tested else UNTESTED,
        table=("Table\u00a0", Reference("tab:unseen")),
    )


def _score_words(data: ReportData) -> Text:
    sent = _sent(data)
    return (
        f"A score is the log-likelihood of a word after the {sent}, less its mean over {sent}s of validation texts, "
        "whose labels are not looked at.\n",
    )


def _sent(data: ReportData) -> str:
    """What receivers get of an example: a wire, or with other kinds of methods a message."""
    return "wire" if data.methods_of_kind("wire") == data.trained_methods else "message"


def _title(data: ReportData, record: Record) -> str:
    """Task and words."""
    return f"{data.display_name(record['task'])}: {_list_words(list(record['words'].values()))}"


def _row(data: ReportData, record: Record, decimals: int) -> TableRow:
    cells: tuple[Text, ...] = (
        (data.display_name(record["model"]),),
        (data.display_name(record["method"]),),
        *excess_cells(record, decimals),
        (str(record["verdict"]),),
    )
    return TableRow(cells, (record["id"],))


def _list_words(words: list[str]) -> str:
    return ", ".join(words[:SHOWN]) + (f" and {len(words) - SHOWN} more" if len(words) > SHOWN else "")
