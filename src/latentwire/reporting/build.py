"""Build `reports/` from `results/aggregate/`."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

from latentwire.digests import sha256_of
from latentwire.output_files import write_text_file
from latentwire.reporting.checks import check_told_apart
from latentwire.reporting.figures import draw_figures
from latentwire.reporting.paper import build_paper
from latentwire.reporting.provenance import build_provenance
from latentwire.reporting.render import render_html, render_latex, render_markdown, render_table
from latentwire.reporting.report_data import Revision, read_report_data
from latentwire.reporting.tables import build_tables


def build_report(
    root: Path, title: str, names: Mapping[str, str], revision: Revision | None = None, method: str = ""
) -> list[Path]:
    """Write tables, figures, paper, page, Markdown and `provenance.json` under `root`/reports; return their paths.

    The folders of tables and figures are emptied first, so that nothing of a former grid stays in them. Without a
    `revision` of the code the report is marked as a draft. `method` says what stages of one's own did.
    """
    aggregate, reports = root / "results" / "aggregate", root / "reports"
    data = read_report_data(aggregate, names, method)
    for keys in (data.stats["methods"], data.tasks, data.stats["models"]):
        check_told_apart({key: data.display_name(key) for key in keys})
    inputs = [aggregate / "stats.json", aggregate / "curves.csv"]
    tables = build_tables(data, revision)
    document = build_paper(data, title, tables, revision, {path.name: sha256_of(path) for path in inputs})
    for name in ("tables", "figures"):
        shutil.rmtree(reports / name, ignore_errors=True)
        (reports / name).mkdir(parents=True)
    drawn = draw_figures(data, reports / "figures")
    outputs: dict[Path, tuple[str, ...]] = {}
    for table in tables:
        text = render_table(table, document.given_words)
        outputs[write_text_file(reports / "tables" / f"{table.name}.tex", text)] = table.ids
    for figure in drawn:
        outputs |= dict.fromkeys(figure.paths, figure.ids)
    drawings = {path.stem: path.read_text(encoding="utf-8") for path in outputs if path.suffix == ".svg"}
    outputs[write_text_file(reports / "paper.tex", render_latex(document))] = ()
    outputs[write_text_file(reports / "report.html", render_html(document, drawings))] = ()
    outputs[write_text_file(reports / "report.md", render_markdown(document))] = ()
    record = build_provenance(data, inputs, outputs, root, revision)
    text = json.dumps(record, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    return [*outputs, write_text_file(reports / "provenance.json", text)]
