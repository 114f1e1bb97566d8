"""Build `reports/` from `results/aggregate/`."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

from latentwire.digests import sha256_of
from latentwire.reporting.checklist import drafts
from latentwire.reporting.facts import Revision, read
from latentwire.reporting.figures import all_figures
from latentwire.reporting.outline import outline
from latentwire.reporting.pages import markdown, page
from latentwire.reporting.paper import paper
from latentwire.reporting.provenance import provenance
from latentwire.reporting.tables import all_tables


def build(root: Path, title: str, names: Mapping[str, str], revision: Revision | None = None) -> list[Path]:
    """Write tables, figures, paper, page, Markdown and `provenance.json` under `root`/reports; return their paths.

    The folders of tables and figures are emptied first, so that nothing of a former grid stays in them. Without a
    `revision` of the code the report is marked as a draft.
    """
    aggregate, reports = root / "results" / "aggregate", root / "reports"
    facts = read(aggregate, names)
    for name in ("tables", "figures"):
        shutil.rmtree(reports / name, ignore_errors=True)
        (reports / name).mkdir(parents=True)
    inputs = [aggregate / "stats.json", aggregate / "curves.csv"]
    tables, figures = all_tables(facts, revision), all_figures(facts, reports / "figures")
    text = paper(facts, title, revision, {path.name: sha256_of(path) for path in inputs})
    outputs: dict[Path, tuple[str, ...]] = {}
    for table in tables:
        outputs[_written(reports / "tables" / table.name, table.text)] = table.ids
    for drawn in figures:
        outputs |= dict.fromkeys(drawn.paths, drawn.ids)
    outputs[_written(reports / "paper.tex", text)] = ()
    blocks = outline(text, {table.name: table.text for table in tables})
    drawings = {path.stem: path.read_text(encoding="utf-8") for path in outputs if path.suffix == ".svg"}
    draft = bool(drafts(facts, revision))
    outputs[_written(reports / "report.html", page(blocks, drawings, title, draft))] = ()
    outputs[_written(reports / "report.md", markdown(blocks))] = ()
    record = provenance(facts, inputs, outputs, root, revision)
    text = json.dumps(record, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    return [*outputs, _written(reports / "provenance.json", text)]


def _written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path
