"""The tables of accuracies and differences: statistics → rows, each with the ids of its numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from latentwire.errors import EvidenceError
from latentwire.reporting.appendix import build_appendix_tables
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
from latentwire.reporting.main_table import build_main_table
from latentwire.reporting.number_format import (
    MISSING,
    PERCENT,
    decimals_for,
    emphasize_best,
    format_interval,
    format_points,
    whole_digits,
)
from latentwire.reporting.report_data import Record, ReportData, Revision
from latentwire.reporting.shared_rows import (
    CHECKPOINT,
    DETECTABLE,
    METHOD,
    SEES,
    FamilyNotes,
    dagger_sentence,
    difference_cells,
    difference_columns,
    family_notes,
    given_ids,
    interval_column,
    merge_sentences,
    method_cell,
    unique_ids,
    verdict_cell,
)

REFERENCE, CHANCE, BASELINES, ABLATIONS = "versus_reference", "versus_chance", "versus_baselines", "ablations"


def build_tables(data: ReportData, revision: Revision | None = None) -> list[Table]:
    """Every numbered table of the report; without a `revision` the checklist says that it is not known.

    Raises:
        EvidenceError: A task is called as a table is, so that one would be written over the other.
    """
    tables = [build_main_table(data)] if data.stats["main"] else []
    tables += [*(build_task_table(data, task) for task in data.tasks), build_chance_table(data)]
    tables.append(build_baselines_table(data))
    if ABLATIONS in data.stats["families"]:
        tables.append(build_ablations_table(data))
    tables += build_appendix_tables(data, revision)
    _check_names([table.name for table in tables])
    return tables


def build_task_table(data: ReportData, task: str) -> Table:
    """Accuracy of every method on one task, with the difference from the reference, a block per receiver."""
    blocks = [data.get_block(task, receiver) for receiver in data.receivers]
    rows = [row for block in blocks for row in block["rows"]]
    cells = [data.get_cell(row["cell"]) for row in rows]
    decimals = decimals_for([cell["high"] - cell["low"] for cell in cells])
    differences = [row[REFERENCE] for row in rows if row[REFERENCE]]
    notes = family_notes(data, REFERENCE, differences, [task])
    return Table(
        name=task,
        caption=_task_caption(data, task),
        columns=_task_columns(data, notes, (whole_digits([cell["value"] for cell in cells]), decimals)),
        groups=tuple(_receiver_group(data, block, decimals) for block in blocks),
        notes=(merge_sentences(*_task_sentences(data, task, notes, cells)),),
        signatures=notes.signatures,
        ids=unique_ids([*(row["cell"] for row in rows), *differences]),
    )


def _task_caption(data: ReportData, task: str) -> Text:
    about = data.stats["tasks"][task]
    return compose_text(
        "Accuracy (%) on {task}: {count} test texts, {classes} classes.\n"
        "Δ is the paired difference from {reference} in points.",
        task=data.display_name(task),
        count=about["n"],
        classes=len(about["counts"]),
        reference=Emphasis((data.reference_name,)),
    )


def _task_columns(data: ReportData, notes: FamilyNotes, digits: tuple[int, int]) -> tuple[Column, ...]:
    return (
        *(Column(("Method",)), Column(("Sees",))),
        *(Column(("Seeds",), align="right"), Column(("Bytes",), align="right")),
        *(Column(("Acc.",), align="right", digits=digits), interval_column(data)),
        *difference_columns(data, notes, digits),
    )


def _receiver_group(data: ReportData, block: Record, decimals: int) -> RowGroup:
    rows = tuple(_task_row(data, block, row, decimals) for row in block["rows"])
    return RowGroup((f"Receiver: {data.display_name(block['receiver'])}",), rows)


def _task_row(data: ReportData, block: Record, row: Record, decimals: int) -> TableRow:
    cell, key = data.get_cell(row["cell"]), row[REFERENCE]
    best = row["method"] == block["best"] or row["method"] in block["tied"]
    return TableRow(
        (
            method_cell(data, row["method"], key, REFERENCE),
            (" ".join(short for name, short in SEES.items() if cell["sees"][name]) or MISSING,),
            (str(cell["S"]),),
            (f"{cell['bytes_per_example']:,.0f}",),
            emphasize_best(format_points(cell["value"], decimals), best),
            (format_interval(cell["low"], cell["high"], decimals),),
            *difference_cells(data, key, REFERENCE, decimals),
        ),
        given_ids(row["cell"], key),
    )


def _task_sentences(data: ReportData, task: str, notes: FamilyNotes, cells: Sequence[Record]) -> Iterator[Text]:
    reference, alpha = Emphasis((data.reference_name,)), Math((f"α = {notes.alpha}",))
    yield compose_text(
        "Sees: T the text, L the names of the labels, F features of the sender.\n"
        "Bold: the best of a block, and methods that neither differ from it ({adjustment}, {alpha}) nor fail to keep\n"
        "{retained} of it. ",
        adjustment=notes.adjustment,
        alpha=alpha,
        retained=data.retained + PERCENT,
    )
    yield dagger_sentence(data, notes)
    yield compose_text(
        "{p}: corrected over the {count} differences from {reference} of all tasks and receivers; "
        "intervals are not corrected.\n",
        p=notes.corrected_p,
        count=notes.count,
        reference=reference,
    )
    yield (DETECTABLE,)
    yield compose_text(
        "Rows with several seeds speak of {method} (seeds and examples vary), rows with one of {checkpoint} "
        "(examples vary).\n",
        method=METHOD,
        checkpoint=CHECKPOINT,
    )
    yield from _peculiarities(data, task, cells)
    yield from notes.final_sentences()


def _peculiarities(data: ReportData, task: str, cells: Sequence[Record]) -> Iterator[Text]:
    """What holds for some tasks only."""
    absent = data.stats["tasks"][task]["absent"]
    if any(cell["seed_variance"] == "not estimated" for cell in cells):
        yield ("One trained run only: seed variance not estimated.\n",)
    if absent:
        yield compose_text("Classes without a test text: {labels}.\n", labels=join_items(absent))
    if any("ci:wilson" in cell["signature"] for cell in cells):
        yield (f"Where the two-way interval would leave 0–100{PERCENT}, Wilson's is shown.\n",)


def build_chance_table(data: ReportData) -> Table:
    """Every method against the majority class."""
    family = data.get_family(CHANCE)
    places = [*data.receivers, *sorted({record["receiver"] for record in family} - set(data.receivers))]
    records = sorted(family, key=lambda record: places.index(record["receiver"]))
    caption = compose_text(
        "Every method against chance: Δ is the paired difference in points from {chance}, the class that is most\n"
        "frequent in the training split.",
        chance=Emphasis((data.display_name(data.get_setting("chance")),)),
    )
    return _family_table(data, CHANCE, caption, records, "")


def build_baselines_table(data: ReportData) -> Table:
    """Trained methods against every baseline."""
    caption = compose_text(
        "Trained methods against every baseline: Δ is the paired difference in points, method minus baseline. "
        "{worse} means that the baseline wins.",
        worse=Emphasis(("Worse",)),
    )
    return _family_table(data, BASELINES, caption, data.get_family(BASELINES), "Baseline")


def build_ablations_table(data: ReportData) -> Table:
    """The trained method against its variants and controls."""
    caption = (
        "Ablations: what the method loses with one thing changed. Δ is the paired difference in points, "
        "method minus the changed one: a variant of its parameters, or a control that reads another text's wire.",
    )
    return _family_table(data, ABLATIONS, caption, data.get_family(ABLATIONS), "Changed")


def _family_table(data: ReportData, name: str, caption: Text, records: Sequence[Record], second: str) -> Table:
    """A row per difference of a family; `second` heads the column of the second method, "" shows accuracies instead."""
    decimals = decimals_for([r["high"] - r["low"] for r in records if r["low"] is not None])
    keys = [record["id"] for record in records]
    notes = family_notes(data, name, keys)
    digits = (whole_digits([record["value"] for record in records]), decimals)
    return Table(
        name=name,
        caption=caption,
        columns=(*_family_columns(second, digits), *difference_columns(data, notes, digits), Column(("Verdict",))),
        groups=tuple(_task_group(data, name, task, records, second, decimals) for task in data.tasks),
        notes=(merge_sentences(*notes.table_sentences()),),
        signatures=notes.signatures,
        ids=unique_ids([*([] if second else [_cell_id(data, record) for record in records]), *keys]),
    )


def _family_columns(second: str, digits: tuple[int, int]) -> tuple[Column, ...]:
    if second:
        return (Column(("Receiver",)), Column(("Method",)), Column((second,)))
    accuracy = Column(("Acc.",), align="right", digits=digits)
    return (Column(("Answers",)), Column(("Method",)), Column(("Seeds",), align="right"), accuracy)


def _task_group(
    data: ReportData, family: str, task: str, records: Sequence[Record], second: str, decimals: int
) -> RowGroup:
    """The differences on one task; a receiver is named in the first of its rows only."""
    rows = [record for record in records if record["task"] == task]
    before = [None, *(record["receiver"] for record in rows)]
    return RowGroup(
        (data.display_name(task),),
        tuple(
            _family_row(data, family, record, record["receiver"] == above, second, decimals)
            for record, above in zip(rows, before, strict=False)
        ),
    )


def _family_row(data: ReportData, family: str, record: Record, repeated: bool, second: str, decimals: int) -> TableRow:
    cell = data.get_cell(_cell_id(data, record))
    accuracy = ((str(cell["S"]),), (format_points(cell["value"], decimals),))
    return TableRow(
        (
            () if repeated else (data.display_name(record["receiver"]),),
            (data.display_name(record["a"]),),
            *(((data.display_name(record["b"]),),) if second else accuracy),
            *difference_cells(data, record["id"], family, decimals),
            verdict_cell(record["verdict"]),
        ),
        (record["id"],),
    )


def _cell_id(data: ReportData, record: Record) -> str:
    """Id of the accuracy of the first method of a difference."""
    method = data.stats["methods"][record["a"]]
    model = record["receiver"] if method["reads_receiver"] else method["models"][0]
    return f"{record['task']}/{model}/{record['a']}/{data.get_setting('metric')}"


def _check_names(names: Sequence[str]) -> None:
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise EvidenceError(
            f"Two tables would be written to reports/tables/{twice[0]}.tex, expected a name for each. "
            "Next: give the task another key in params.yaml, then `dvc repro`."
        )
