"""Stage `report`: `results/aggregate/` → tables, figures and the paper under `reports/`."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

from latentwire import params
from latentwire.stages import entry


def main(argv: Sequence[str] | None = None) -> None:
    """Build the report of the repository in the current folder; `--pdf-only` compiles what is there."""
    parser = argparse.ArgumentParser(prog="python -m latentwire.stages.report", description=__doc__)
    parser.add_argument("--pdf-only", action="store_true", help="only compile reports/paper.tex")
    options = parser.parse_args(argv)

    from latentwire.reporting.build import build
    from latentwire.reporting.latex import ENGINE, compile_paper
    from latentwire.tracking.publish import publish_statistics

    # Fonts are subset for every figure, with a dozen lines each at the level that the stages log at.
    logging.getLogger("fontTools").setLevel(logging.WARNING)
    values = params.load()
    if not options.pdf_only:
        written = build(Path(), values.report.title, values.report.names)
        print(f"{len(written)} files in reports/")
    paper = compile_paper(Path("reports/paper.tex"))
    if paper is None:
        print(
            f"note: {ENGINE} is not installed, so reports/paper.tex was not compiled; everything else is complete. "
            "Next: install TeX Live with latexmk, then `python -m latentwire.stages.report --pdf-only`."
        )
    else:
        print(f"compiled {paper}")
    publish_statistics(values, Path(), artifacts(Path("reports")))


def artifacts(reports: Path) -> dict[str, list[Path]]:
    """Folder in MLflow → files of the report that are attached there."""
    papers = [reports / name for name in ("paper.tex", "paper.pdf", "provenance.json")]
    return {
        "figures": sorted((reports / "figures").iterdir()),
        "tables": sorted((reports / "tables").iterdir()),
        "": [path for path in papers if path.is_file()],
    }


if __name__ == "__main__":
    entry(main)
