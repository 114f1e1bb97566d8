"""The result in one table, with what lies where and what one types next: the end of `make repro`, and its pages.

All numbers are those of `results/aggregate/stats.json`, as the tables of the paper print them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd
from rich.table import Table

from latentwire.console.tables import make_table
from latentwire.params.load import load_any_params
from latentwire.reporting.claims import OPEN_STATES, chance_records, strongest_records
from latentwire.reporting.document import Text, plain_text
from latentwire.reporting.main_table import build_main_table
from latentwire.reporting.number_format import format_interval, format_points, format_signed
from latentwire.reporting.report_data import METRIC_NAMES, Record, ReportData, read_statistics
from latentwire.reporting.tables import build_task_table

DATABASE = "mlflow.db"
PLACES = {
    "reports/paper.pdf": "the paper",
    "reports/report.html": "the same as a page",
    "reports/tables": "every table",
    "reports/figures": "every figure",
    "results/aggregate/stats.json": "every statistic, and how it was computed",
    "results/train": "final checkpoints and learning curves",
    DATABASE: "runs, parameters, curves",
}
NEXT = {
    ".venv/bin/mlflow ui --backend-store-uri sqlite:///mlflow.db": "the runs, on http://127.0.0.1:5000",
    ".venv/bin/latentwire verify": "are these the published numbers?",
    "dvc exp run -S train.steps=200": "change something; with .venv/bin on the PATH",
}
COMPUTED = "results/aggregate/metrics.json"
"""Written with the statistics, and not published in git as they are."""
RECEIVER = "Receiver"


def read_headline(root: Path) -> ReportData:
    """The statistics of the repository at `root`, without learning curves, which are not published in git.

    Raises:
        EvidenceError: They are missing or were written by another version.
    """
    names = load_any_params(root / "params.yaml").report.names
    return ReportData(read_statistics(root / "results/aggregate"), pd.DataFrame(), names)


def headline_cells(data: ReportData) -> tuple[list[str], list[list[str]]]:
    """Head and rows of the main table as plain words, the receivers first; with one task, of the table of that."""
    table = build_main_table(data) if data.stats["main"] else build_task_table(data, data.tasks[0])
    heads = [plain_text(column.header) for column in table.columns]
    rows = [
        [*_receiver_words(data, group.title), *map(plain_text, row.cells)]
        for group in table.groups
        for row in group.rows
    ]
    return [*([RECEIVER] if data.has_receivers else []), *heads], rows


def _count_names(data: ReportData) -> int:
    """Columns that tell the rows apart: receiver and method, or the method alone."""
    return 1 + data.has_receivers


def _receiver_words(data: ReportData, title: Text) -> list[str]:
    return [plain_text(title).partition(": ")[2]] if data.has_receivers else []


def headline_table(data: ReportData) -> Table:
    """The main table for a terminal."""
    heads, rows = headline_cells(data)
    return make_table(heads, rows, names=_count_names(data))


def headline_markdown(data: ReportData) -> str:
    """The main table for a page of Markdown, with numbers to the right."""
    heads, rows = headline_cells(data)
    return _as_markdown(heads, rows, _count_names(data))


def summary_markdown(data: ReportData) -> str:
    """The first trained method against the reference and what is best without training, for each task and receiver.

    Where no other method is untrained, as in an experiment of one's own, all others are meant.
    """
    reference = data.get_setting("reference")
    method = next(key for key in (*data.main_methods, *data.trained_methods) if key != reference)
    own = [record for record in (*data.get_contests(), *chance_records(data, method)) if record["a"] == method]
    receiver, delta = [RECEIVER] if data.has_receivers else [], f"Δ [{data.confidence}% CI]"
    heads = ["Task", *receiver, data.display_name(method), data.reference_name, delta, "Best baseline", delta]
    rows = [_summary_row(data, method, best, own) for best in strongest_records(own)]
    return _as_markdown(heads, rows, len(receiver) + 1)


def _summary_row(data: ReportData, method: str, best: Record, records: Sequence[Record]) -> list[str]:
    place = best["task"], best["receiver"]
    reference = next(one for one in records if one["b"] == data.get_setting("reference") and _place(one) == place)
    scores = {row["method"]: _score(data, row["cell"]) for row in data.get_block(*place)["rows"]}
    return [
        f"{data.display_name(best['task'])}, {METRIC_NAMES[data.metric_of(best['task'])]}",
        *([data.display_name(best["receiver"])] if data.has_receivers else []),
        *(scores[method], scores[reference["b"]], _difference(reference)),
        *(f"{data.display_name(best['b'])}: {scores[best['b']]}", _difference(best)),
    ]


def _place(record: Record) -> tuple[str, str]:
    return record["task"], record["receiver"]


def _score(data: ReportData, cell: str) -> str:
    return format_points(data.get_cell(cell)["value"])


def _difference(record: Record) -> str:
    interval = format_interval(record["low"], record["high"], sign=True)
    return f"{format_signed(record['value'])} {interval}{OPEN_STATES.get(record['verdict'], '')}"


def _as_markdown(heads: Sequence[str], rows: Sequence[Sequence[str]], names: int) -> str:
    """A table whose first `names` columns are words; the others stand to the right."""
    marks = [*["---"] * names, *["--:"] * (len(heads) - names)]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in [heads, marks, *rows])


def list_places(root: Path) -> Iterator[str]:
    """A line for each result that lies in the repository at `root`, then one for each thing to type next."""
    yield from _align([(path, what) for path, what in PLACES.items() if (root / path).exists()])
    if not (root / COMPUTED).exists():
        yield "published; none of these numbers was computed here yet. Next: `make repro`"
        return
    yield "next:"
    has_runs = (root / DATABASE).exists()
    yield from _align([(typed, what) for typed, what in NEXT.items() if has_runs or DATABASE not in typed])


def _align(pairs: Sequence[tuple[str, str]]) -> list[str]:
    width = max((len(first) for first, _ in pairs), default=0)
    return [f"  {first:<{width}}  {second}" for first, second in pairs]
