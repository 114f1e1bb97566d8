"""The tables after the main ones: costs, statistics beside each difference, calibration and ranks, the checklist."""

from __future__ import annotations

from collections.abc import Sequence

from latentwire.reporting.checklist import answer_checklist
from latentwire.reporting.document import (
    Column,
    Emphasis,
    Math,
    RowGroup,
    Table,
    TableRow,
    Text,
    Variable,
    compose_text,
)
from latentwire.reporting.number_format import (
    MISSING,
    PERCENT,
    format_interval,
    format_p_value,
    format_points,
)
from latentwire.reporting.report_data import Record, ReportData, Revision
from latentwire.reporting.shared_rows import SEES, unique_ids


def build_appendix_tables(data: ReportData, revision: Revision | None) -> list[Table]:
    """Tables of the costs, the statistics and the checklist."""
    beside = [build_statistics_table(data)] if data.get_contests() else []
    checklist = build_checklist_table(data, revision)
    costs = [build_costs_table(data)] if data.has_costs else []
    return [*costs, *beside, build_calibration_table(data), checklist]


def _appendix_table(
    name: str, caption: str, columns: Sequence[Column], groups: Sequence[RowGroup], note: Text,
    signatures: Sequence[str] = (),
) -> Table:  # fmt: skip
    return Table(
        name=name,
        caption=(caption,),
        columns=tuple(columns),
        groups=tuple(groups),
        notes=(note,) if note else (),
        signatures=tuple(sorted(set(signatures))),
        ids=unique_ids([key for group in groups for row in group.rows for key in row.ids]),
        density="dense",
    )


def build_costs_table(data: ReportData) -> Table:
    """Bytes that an example costs every method on each task, with what the method sees."""
    methods = [method for method in data.methods if method not in data.control_methods]
    reading = (Column(("Sees",)), Column(("Slots",), align="right")) if data.has_receivers else ()
    columns = (
        *(Column(("Method",), width="1.6in"), Column(("Trained",)), *reading),
        *(Column((data.display_name(task),), align="right") for task in data.tasks),
    )
    rows = tuple(_cost_row(data, method) for method in methods)
    note = f"Bytes per example, a mean over the test {data.example}s."
    note += " Sees: T the text, L the names of the labels, F features." if data.has_receivers else ""
    caption = f"What an example costs: bytes that reach the {'receiver' if data.has_receivers else 'method'}."
    return _appendix_table("costs", caption, columns, [RowGroup((), rows)], (note,))


def _cost_row(data: ReportData, method: str) -> TableRow:
    ids = [_any_cell_id(data, task, method) for task in data.tasks]
    cells = [data.get_cell(key) for key in ids]
    slots = {data.stats["sources"][path]["slots"] for cell in cells for path in cell["sources"]} - {None}
    words = (
        data.display_name(method),
        "yes" if data.stats["methods"][method]["trained"] else "no",
        *(_reading_words(cells[0], slots) if data.has_receivers else ()),
        *(f"{cell['bytes_per_example']:,.1f}" for cell in cells),
    )
    return TableRow(tuple((word,) for word in words), tuple(ids))


def _reading_words(cell: Record, slots: set[int]) -> tuple[str, str]:
    """What a method sees of an example, and the slots of its wire."""
    seen = " ".join(short for key, short in SEES.items() if cell["sees"][key])
    return seen or MISSING, ", ".join(map(str, sorted(slots))) or MISSING


def _any_cell_id(data: ReportData, task: str, method: str) -> str:
    """Id of a cell of this method; what it costs does not depend on who reads."""
    for key, cell in data.stats["cells"].items():
        if (cell["task"], cell["method"]) == (task, method):
            return str(key)
    raise KeyError(f"{method} on {task}")


def build_statistics_table(data: ReportData) -> Table:
    """Beside each difference of a trained method from a baseline: other intervals, ratio, posterior, equivalence."""
    records = data.get_contests()
    rows: dict[str, list[TableRow]] = {}
    for record in records:
        rows.setdefault(data.place_title(record), []).append(TableRow(_statistics_cells(data, record), (record["id"],)))
    groups = [RowGroup((title,), tuple(members)) for title, members in rows.items()]
    signatures = [record["bootstrap"]["signature"] for record in records]
    signatures += [record["checkpoint"]["signature"] for record in records if record["checkpoint"]]
    caption = "Beside the differences: the other estimand, other methods, and how large a difference is likely."
    return _appendix_table("statistics", caption, _statistics_columns(), groups, _statistics_note(data), signatures)


def _statistics_columns() -> tuple[Column, ...]:
    return (
        Column(("Difference",), width="1.4in"),
        Column(("Checkpoint",), align="center"),
        Column((Math((Variable("p", "flip"),)),), align="right"),
        Column(("Bootstrap",), align="center"),
        Column(("Ratio (%)",), align="center"),
        Column(("Posterior",), align="center"),
        Column(("Equivalence",)),
    )


def _statistics_note(data: ReportData) -> Text:
    return compose_text(
        "Checkpoint: interval and sign-flip {p} with examples alone random, for {checkpoint}. "
        "Bootstrap: crossed, percentile, for {method}. Ratio: accuracy in % of the {other}'s, with "
        "Fieller's interval. Posterior: probabilities in % that the method is worse by more than "
        "{margin} points, within, or better by more; flat prior. Equivalence: two one-sided tests at "
        "±{margin} points. Nothing here is corrected for the number of comparisons.",
        p=Math((Variable("p"),)),
        checkpoint=Emphasis(("this checkpoint",)),
        method=Emphasis(("this method",)),
        margin=format_points(data.get_setting("margin")),
        other="baseline" if data.has_receivers else "other",
    )


def _statistics_cells(data: ReportData, record: Record) -> tuple[Text, ...]:
    checkpoint, kept, boot = record["checkpoint"], record["retention"], record["bootstrap"]
    shares = [record["posterior"][name] for name in ("worse", "equivalent", "better")]
    return (
        (f"{data.display_name(record['a'])} – {data.display_name(record['b'])}",),
        (format_interval(checkpoint["low"], checkpoint["high"], sign=True) if checkpoint else MISSING,),
        format_p_value(checkpoint["p"] if checkpoint else None),
        (format_interval(boot["low"], boot["high"], sign=True),),
        (f"{format_points(kept['ratio'])} {format_interval(kept['low'], kept['high'])}",),
        (MISSING if None in shares else " / ".join(map(format_points, shares)),),
        (record["equivalence"]["outcome"],),
    )


def build_calibration_table(data: ReportData) -> Table:
    """Calibration error and rank of every method, a group per task and receiver."""
    blocks = [data.get_block(task, receiver) for task in data.tasks for receiver in data.receivers]
    groups = [
        RowGroup(
            (data.place_title(block),),
            tuple(_calibration_row(data, block, row) for row in block["rows"]),
        )
        for block in blocks
    ]
    signatures = [block["ranks"]["signature"] for block in blocks]
    signatures += [record["signature"] for record in data.stats["calibration"].values()]
    caption = "How far confidence can be believed, and how sure the order of methods is."
    return _appendix_table(
        "calibration", caption, _calibration_columns(data), groups, _calibration_note(data), signatures
    )


def _calibration_columns(data: ReportData) -> tuple[Column, ...]:
    return (
        Column(("Method",), width="2.4in"),
        Column(("ECE",), align="right"),
        Column((f"{data.confidence}% CI",), align="center"),
        Column(("Rank",), align="right"),
        Column(("CI",), align="center"),
        Column(("Best",), align="right"),
    )


def _calibration_note(data: ReportData) -> Text:
    return (
        "ECE: expected calibration error in points, a mean over seeds of ten equal bins, with the crossed "
        "bootstrap's standard error; it is biased upwards in small samples. Rank: 1 is the best of the block, with "
        f"the middle {data.confidence}{PERCENT} of the resampled ranks. Best: share of resamples (%) in which the "
        "method comes first. All methods of a block share the draws.",
    )


def _calibration_row(data: ReportData, block: Record, row: Record) -> TableRow:
    key = data.same_cell(row["cell"], "ece")
    error, rank = data.stats["calibration"][key], block["ranks"]["methods"].get(row["method"])
    words = [
        data.display_name(row["method"]),
        format_points(error["value"]),
        format_interval(error["low"], error["high"]),
        *(_rank_words(rank) if rank else [MISSING] * 3),
    ]
    ids = (key, f"{block['task']}/{block['receiver']}/ranks") if rank else (key,)
    return TableRow(tuple((word,) for word in words), ids)


def _rank_words(rank: Record) -> list[str]:
    return [f"{rank['rank']:g}", f"[{rank['low']:g}, {rank['high']:g}]", format_points(rank["best"])]


def build_checklist_table(data: ReportData, revision: Revision | None) -> Table:
    """The reproducibility checklist, every answer taken from the data."""
    rows = tuple(TableRow(((question,), answer)) for question, answer in answer_checklist(data, revision))
    return _appendix_table(
        "checklist",
        "Reproducibility checklist, answered from the data.",
        [Column(("Question",), width="2.1in"), Column(("Answer",), width="4.45in")],
        [RowGroup((), rows)],
        (),
    )
