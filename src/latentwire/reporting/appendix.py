"""The tables after the main ones: costs, statistics beside each difference, calibration and ranks, the checklist."""

from __future__ import annotations

from collections.abc import Sequence

from latentwire.reporting.checklist import answers
from latentwire.reporting.facts import Facts, Record, Revision
from latentwire.reporting.numbers import Tex, escape, interval, p_value, points
from latentwire.reporting.style import SEES, Table
from latentwire.reporting.templates import render

Row = tuple[list[Tex], str]
"""Cells of a row, and the ids of the numbers in it."""
Groups = Sequence[tuple[Tex, Sequence[Row]]]


def appendix_tables(facts: Facts, revision: Revision | None) -> list[Table]:
    """Tables of the costs, the statistics and the checklist."""
    return [costs(facts), statistics(facts), calibration(facts), checklist(facts, revision)]


def _sheet(
    name: str, caption: Tex, layout: str, header: Sequence[str], groups: Groups,
    notes: Sequence[Tex], signatures: Sequence[str] = (),
) -> Table:  # fmt: skip
    text = render(
        "sheet.tex.j2", label=name, caption=caption, layout=layout, header=[Tex(h) for h in header], groups=groups,
        notes=notes, signatures=sorted(set(signatures)),
    )  # fmt: skip
    keys = [key for _, rows in groups for _, ids in rows for key in ids.split(", ") if key]
    return Table(f"{name}.tex", text, tuple(dict.fromkeys(keys)))


def costs(facts: Facts) -> Table:
    """Bytes that an example costs every method on each task, with what the method sees."""
    rows: list[Row] = []
    for method in facts.stats["order"]["methods"]:
        if method in facts.controls():
            continue
        cells = {task: _any_cell(facts, task, method) for task in facts.tasks}
        keys = [key for key, _ in cells.values()]
        about, sees = facts.stats["methods"][method], next(iter(cells.values()))[1]["sees"]
        slots = {facts.stats["sources"][path]["slots"] for _, cell in cells.values() for path in cell["sources"]}
        rows.append(
            (
                [
                    escape(facts.name(method)),
                    Tex("yes" if about["trained"] else "no"),
                    Tex(" ".join(short for key, short in SEES.items() if sees[key]) or "--"),
                    Tex(", ".join(str(count) for count in sorted(slots - {None})) or "--"),
                    *(Tex(f"{cell['bytes_per_example']:,.1f}") for _, cell in cells.values()),
                ],
                ", ".join(keys),
            )
        )
    header = ["Method", "Trained", "Sees", "Slots", *(escape(facts.name(task)) for task in facts.tasks)]
    note = Tex(
        "Bytes per example, a mean over the test texts. Sees: T the text, L the names of the labels, F features."
    )
    caption = Tex("What an example costs: bytes that reach the receiver.")
    return _sheet("costs", caption, "p{1.6in} l l r" + " r" * len(facts.tasks), header, [(Tex(""), rows)], [note])


def _any_cell(facts: Facts, task: str, method: str) -> tuple[str, Record]:
    """Id and record of a cell of this method; what it costs does not depend on who reads."""
    found = facts.stats["cells"]
    key = next(k for k in found if found[k]["task"] == task and found[k]["method"] == method)
    return key, facts.cell(key)


def statistics(facts: Facts) -> Table:
    """Beside each difference of a trained method from a baseline: other intervals, ratio, posterior, equivalence."""
    records = facts.family("versus_baselines")
    groups: dict[str, list[Row]] = {}
    for record in records:
        group = f"{facts.name(record['task'])}: {facts.name(record['receiver'])}"
        groups.setdefault(group, []).append((_beside(facts, record), record["id"]))
    margin = points(facts.setting("margin"))
    notes = [
        Tex(
            r"Checkpoint: interval and sign-flip $p$ with examples alone random, for \emph{this checkpoint}. "
            r"Bootstrap: crossed, percentile, for \emph{this method}. Ratio: accuracy in \% of the baseline's, with "
            r"Fieller's interval. Posterior: probabilities in \% that the method is worse by more than "
            rf"{margin} points, within, or better by more; flat prior. Equivalence: two one-sided tests at "
            rf"$\pm${margin} points. Nothing here is corrected for the number of comparisons."
        )
    ]
    header = [
        "Difference",
        "Checkpoint",
        r"$p_{\mathrm{flip}}$",
        "Bootstrap",
        r"Ratio (\%)",
        "Posterior",
        "Equivalence",
    ]
    caption = Tex("Beside the differences: the other estimand, other methods, and how large a difference is likely.")
    signatures = [r["bootstrap"]["signature"] for r in records] + [
        r["checkpoint"]["signature"] for r in records if r["checkpoint"]
    ]
    return _sheet(
        "statistics", caption, "l c r c c c l", header, [(escape(g), rows) for g, rows in groups.items()], notes,
        signatures,
    )  # fmt: skip


def _beside(facts: Facts, record: Record) -> list[Tex]:
    checkpoint, kept, boot = record["checkpoint"], record["retention"], record["bootstrap"]
    shares = [record["posterior"][name] for name in ("worse", "equivalent", "better")]
    ratio = "--" if kept["ratio"] is None else points(kept["ratio"])
    return [
        Tex(f"{escape(facts.name(record['a']))} -- {escape(facts.name(record['b']))}"),
        interval(checkpoint["low"], checkpoint["high"], sign=True) if checkpoint else Tex("--"),
        p_value(checkpoint["p"]) if checkpoint else Tex("--"),
        interval(boot["low"], boot["high"], sign=True),
        Tex(f"{ratio} {interval(kept['low'], kept['high'])}"),
        Tex("--" if None in shares else " / ".join(points(share) for share in shares)),
        escape(record["equivalence"]["outcome"]),
    ]


def calibration(facts: Facts) -> Table:
    """Calibration error and rank of every method, a group per task and receiver."""
    groups: list[tuple[Tex, list[Row]]] = []
    signatures: list[str] = []
    for task in facts.tasks:
        for receiver in facts.receivers:
            block = facts.block(task, receiver)
            rows = [_calibrated(facts, block, row) for row in block["rows"]]
            groups.append((escape(f"{facts.name(task)}: {facts.name(receiver)}"), rows))
            signatures.append(block["ranks"]["signature"])
    notes = [
        Tex(
            "ECE: expected calibration error in points, a mean over seeds of ten equal bins, with the crossed "
            "bootstrap's standard error; it is biased upwards in small samples. Rank: 1 is the best of the block, with "
            rf"the middle {100 * facts.setting('confidence'):g}\,\% of the resampled ranks. Best: share of resamples "
            r"(\%) in "
            "which the method comes first. All methods of a block share the draws."
        )
    ]
    signatures += [record["signature"] for record in facts.stats["calibration"].values()]
    header = ["Method", "ECE", f"{100 * facts.setting('confidence'):g}\\% CI", "Rank", "CI", "Best"]
    caption = Tex("How far confidence can be believed, and how sure the order of the methods is.")
    return _sheet("calibration", caption, "p{2.4in} r c r c r", header, groups, notes, signatures)


def _calibrated(facts: Facts, block: Record, row: Record) -> Row:
    key = row["cell"].removesuffix(facts.setting("metric")) + "ece"
    error, rank = facts.stats["calibration"][key], block["ranks"]["methods"].get(row["method"])
    ranked = (
        [Tex(f"{rank['rank']:g}"), Tex(f"[{rank['low']:g}, {rank['high']:g}]"), points(rank["best"])]
        if rank
        else [Tex("--")] * 3
    )
    cells = [
        escape(facts.name(row["method"])),
        points(error["value"]),
        interval(error["low"], error["high"]),
        *ranked,
    ]
    return cells, f"{key}, {block['task']}/{block['receiver']}/ranks" if rank else key


def checklist(facts: Facts, revision: Revision | None) -> Table:
    """The reproducibility checklist, every answer taken from the data."""
    rows: list[Row] = [([question, answer], "") for question, answer in answers(facts, revision)]
    caption = Tex("Reproducibility checklist, answered from the data.")
    notes = [Tex("Answers are composed from the same files as the tables; none was typed in.")]
    layout = "p{2.1in} p{4.4in}"
    return _sheet("checklist", caption, layout, ["Question", "Answer"], [(Tex(""), rows)], notes)
