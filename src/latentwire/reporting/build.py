"""Build `reports/` from `results/aggregate/`."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

from latentwire.reporting.facts import Revision, read
from latentwire.reporting.figures import all_figures
from latentwire.reporting.paper import paper
from latentwire.reporting.provenance import provenance, sha256
from latentwire.reporting.tables import all_tables


def build(root: Path, title: str, names: Mapping[str, str], revision: Revision | None = None) -> list[Path]:
    """Write tables, figures, `paper.tex` and `provenance.json` under `root`/reports; return their paths.

    The folders of tables and figures are emptied first, so that nothing of a former grid stays in them.
    """
    aggregate, reports = root / "results" / "aggregate", root / "reports"
    facts = read(aggregate, names)
    for name in ("tables", "figures"):
        shutil.rmtree(reports / name, ignore_errors=True)
        (reports / name).mkdir(parents=True)
    outputs: dict[Path, tuple[str, ...]] = {}
    for table in all_tables(facts, revision):
        path = reports / "tables" / table.name
        path.write_text(table.text, encoding="utf-8")
        outputs[path] = table.ids
    for drawn in all_figures(facts, reports / "figures"):
        outputs |= dict.fromkeys(drawn.paths, drawn.ids)
    source = reports / "paper.tex"
    inputs = [aggregate / "stats.json", aggregate / "curves.csv"]
    origin = {path.name: sha256(path) for path in inputs}
    source.write_text(paper(facts, title, revision, origin), encoding="utf-8")
    outputs[source] = ()
    record = reports / "provenance.json"
    text = json.dumps(provenance(facts, inputs, outputs, root), indent=1, sort_keys=True, ensure_ascii=False)
    record.write_text(text + "\n", encoding="utf-8")
    return [*outputs, record]
