"""The LaTeX tables, one function each: statistics → the rows that a template prints.

A table is text plus the ids of the numbers in it, so that each can be traced.
"""

from __future__ import annotations

from collections.abc import Sequence

from latentwire.errors import EvidenceError
from latentwire.reporting.appendix import appendix_tables
from latentwire.reporting.facts import Facts, Record, Revision
from latentwire.reporting.main_table import main_table
from latentwire.reporting.numbers import Tex, bold, decimals_for, interval, points, whole_digits
from latentwire.reporting.rows import common, difference, unique, verdict
from latentwire.reporting.style import SEES, Table
from latentwire.reporting.templates import render


def all_tables(facts: Facts, revision: Revision | None = None) -> list[Table]:
    """Every table of the report; without a `revision` the checklist says that it is not known.

    Raises:
        EvidenceError: A task is called as a table is, so that one would be written over the other.
    """
    found = [main_table(facts)] if facts.stats["main"] else []
    found += [*(task_table(facts, task) for task in facts.tasks), chance_table(facts), baselines_table(facts)]
    if "ablations" in facts.stats["families"]:
        found.append(ablations_table(facts))
    found += appendix_tables(facts, revision)
    _refuse_same_names([table.name for table in found])
    return found


def task_table(facts: Facts, task: str) -> Table:
    """Accuracy of every method on one task, with the difference from the reference, a block per receiver."""
    blocks = [facts.block(task, receiver) for receiver in facts.receivers]
    cells = [facts.cell(row["cell"]) for block in blocks for row in block["rows"]]
    decimals = decimals_for([cell["high"] - cell["low"] for cell in cells])
    differences = [row["versus_reference"] for block in blocks for row in block["rows"] if row["versus_reference"]]
    text = render(
        "task.tex.j2",
        label=Tex(f"tab:{task}"),
        task=facts.name(task),
        **common(facts, "versus_reference", differences, [task]),
        about=facts.stats["tasks"][task],
        decimals=decimals,
        whole=whole_digits([cell["value"] for cell in cells]),
        blocks=[
            (facts.name(block["receiver"]), [_task_row(facts, block, row, decimals) for row in block["rows"]])
            for block in blocks
        ],
        unestimated=any(cell["seed_variance"] == "not estimated" for cell in cells),
        wilson=any("ci:wilson" in cell["signature"] for cell in cells),
    )
    return Table(f"{task}.tex", text, unique([*(row["cell"] for b in blocks for row in b["rows"]), *differences]))


def _task_row(facts: Facts, block: Record, row: Record, decimals: int) -> Record:
    cell = facts.cell(row["cell"])
    strong = row["method"] == block["best"] or row["method"] in block["tied"]
    accuracy = points(cell["value"], decimals)
    return {
        "method": facts.name(row["method"]),
        "sees": " ".join(short for key, short in SEES.items() if cell["sees"][key]) or "--",
        "seeds": cell["S"],
        "bytes": f"{cell['bytes_per_example']:,.0f}",
        "accuracy": bold(accuracy) if strong else accuracy,
        "interval": interval(cell["low"], cell["high"], decimals),
        "ids": ", ".join(key for key in (row["cell"], row["versus_reference"]) if key),
        **difference(facts, row["versus_reference"], "versus_reference", decimals),
    }


def chance_table(facts: Facts) -> Table:
    """Every method against the majority class."""
    places = [
        *facts.receivers,
        *sorted({r["receiver"] for r in facts.family("versus_chance")} - set(facts.receivers)),
    ]
    records = sorted(facts.family("versus_chance"), key=lambda record: places.index(record["receiver"]))
    return _family_table(facts, "versus_chance", "chance.tex.j2", records, [_cell_of(facts, r) for r in records])


def baselines_table(facts: Facts) -> Table:
    """Trained methods against every baseline."""
    return _differences_table(
        facts,
        "versus_baselines",
        "Baseline",
        Tex(
            r"Trained methods against every baseline: $\Delta$ is the paired difference in points, method minus "
            r"baseline. \emph{Worse} means that the baseline wins."
        ),
    )


def ablations_table(facts: Facts) -> Table:
    """The trained method against its variants and controls."""
    return _differences_table(
        facts,
        "ablations",
        "Changed",
        Tex(
            r"Ablations: what the method loses with one thing changed. $\Delta$ is the paired difference in points, "
            r"method minus the changed one: a variant of its parameters, or a control that reads another text's wire."
        ),
    )


def _differences_table(facts: Facts, family: str, second: str, caption: Tex) -> Table:
    return _family_table(
        facts, family, "differences.tex.j2", facts.family(family), [], family=family, second=second, caption=caption
    )


def _family_table(
    facts: Facts, name: str, template: str, records: Sequence[Record], cells: Sequence[str], **words: str
) -> Table:
    """A row per difference of a family; `cells` are the accuracies that the template prints, `words` what it says."""
    decimals = decimals_for([r["high"] - r["low"] for r in records if r["low"] is not None])
    rows = {
        task: [_family_row(facts, record, name, decimals) for record in records if record["task"] == task]
        for task in facts.tasks
    }
    keys = [record["id"] for record in records]
    text = render(
        template,
        decimals=decimals,
        whole=whole_digits([record["value"] for record in records]),
        **common(facts, name, keys),
        **words,
        groups=[(facts.name(task), _without_repeats(group)) for task, group in rows.items()],
    )
    return Table(f"{name}.tex", text, unique([*cells, *keys]))


def _family_row(facts: Facts, record: Record, family: str, decimals: int) -> Record:
    cell = facts.cell(_cell_of(facts, record))
    return {
        "receiver": facts.name(record["receiver"]),
        "a": facts.name(record["a"]),
        "b": facts.name(record["b"]),
        "seeds": cell["S"],
        "accuracy": points(cell["value"], decimals),
        "ids": record["id"],
        "verdict": verdict(record["verdict"]),
        **difference(facts, record["id"], family, decimals),
    }


def _cell_of(facts: Facts, record: Record) -> str:
    """Id of the accuracy of the first method of a difference."""
    method = facts.stats["methods"][record["a"]]
    model = record["receiver"] if method["reads_receiver"] else method["models"][0]
    return f"{record['task']}/{model}/{record['a']}/{facts.setting('metric')}"


def _without_repeats(rows: Sequence[Record]) -> list[Record]:
    """The rows with a receiver shown only in the first of its own."""
    before = [None, *(row["receiver"] for row in rows)]
    return [
        {**row, "receiver": Tex("") if row["receiver"] == above else row["receiver"]}
        for row, above in zip(rows, before, strict=False)
    ]


def _refuse_same_names(names: Sequence[str]) -> None:
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise EvidenceError(
            f"Two tables would be written to reports/tables/{twice[0]}, expected a name for each. "
            "Next: give the task another key in params.yaml, then `dvc repro`."
        )
