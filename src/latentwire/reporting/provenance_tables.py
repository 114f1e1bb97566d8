"""The small tables of the section on provenance: models, data and runs, each with its digests."""

from __future__ import annotations

from latentwire.reporting.checklist import DIGEST
from latentwire.reporting.document import Code, Column, RowGroup, Table, TableRow, Text
from latentwire.reporting.number_format import format_decimal
from latentwire.reporting.report_data import ReportData


def build_provenance_tables(data: ReportData) -> list[Table]:
    """Models, tasks and trained runs."""
    models = [_models_table(data)] if data.stats["models"] else []
    return [*models, _tasks_table(data), _runs_table(data)]


def _plain_table(headers: tuple[str, ...], rows: list[tuple[Text, ...]], last: Column | None = None) -> Table:
    columns = (*(Column((header,)) for header in headers), *([last] if last else []))
    return Table(columns, (RowGroup((), tuple(map(TableRow, rows))),))


def _digest_cell(digest: str) -> Text:
    return (Code(digest[:DIGEST]),)


def _models_table(data: ReportData) -> Table:
    rows: list[tuple[Text, ...]] = []
    for key, about in data.stats["models"].items():
        family, license_ = about["family"] or "not stated", about["license"] or "not stated"
        rows.append(((data.display_name(key),), (family,), (license_,), _digest_cell(about["digest"])))
    return _plain_table(("Model", "Family", "License", "Weights"), rows)


def _tasks_table(data: ReportData) -> Table:
    rows: list[tuple[Text, ...]] = []
    for task in data.tasks:
        about = data.stats["tasks"][task]
        digests = [_digest_cell(about[name]) for name in ("data_digest", "ids", "golds")]
        rows.append(((data.display_name(task),), *digests))
    return _plain_table(("Task", "Data", "Test ids", "Labels"), rows)


def _runs_table(data: ReportData) -> Table:
    """Every trained run with the digests of its weights and predictions, and how far the slots of its wire differ."""
    slots = {path: run["slots"] for run in data.stats["runs"].values() for path in run["sources"]}
    rows: list[tuple[Text, ...]] = []
    for path, source in data.stats["sources"].items():
        if source["checkpoint"] is not None:
            digests = (_digest_cell(source["checkpoint"]), _digest_cell(source["sha256"]))
            cosine, rank = (slots[path].get(name) for name in ("cosine", "effective_rank"))
            diversity = ((format_decimal(cosine, 3),), (format_decimal(rank, 1),)) if data.has_receivers else ()
            rows.append(((Code(path.split("/")[-2]),), *digests, *diversity, (str(source["rows"]),)))
    headers = ("Run", "Weights", "Predictions", *(("Slot cosine", "Effective rank") if data.has_receivers else ()))
    return _plain_table(headers, rows, Column(("Rows",), align="right"))
