"""Stage `report`: `results/aggregate/` → tables, figures and the paper under `reports/`."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from latentwire import git
from latentwire.exits import entry
from latentwire.params import load as params

if TYPE_CHECKING:
    from latentwire.reporting.facts import Revision

CODE = ("src", "params.yaml", "dvc.yaml", "assets.lock", "requirements.lock")
"""What defines a result: a report made while these differ from their commit is a draft."""
UNKNOWN = "git does not say which revision of the code this is"
DIRTY = f"files under {', '.join(CODE)} differ from their last commit"
AGAIN = "Next: commit them, then `dvc repro --force --single-item report`."


def main(argv: Sequence[str] | None = None) -> None:
    """Build the report of the repository in the current folder; `--pdf-only` compiles what is there."""
    parser = argparse.ArgumentParser(prog="python -m latentwire.stages.report", description=__doc__)
    parser.add_argument("--pdf-only", action="store_true", help="only compile reports/paper.tex")
    options = parser.parse_args(argv)

    from latentwire.reporting.build import build
    from latentwire.reporting.latex import ENGINE, compile_paper
    from latentwire.tracking.publish import publish_statistics
    from unbroken.preemption import StopFlag

    # Fonts are subset for every figure, with a dozen lines each at the level that the stages log at.
    logging.getLogger("fontTools").setLevel(logging.WARNING)
    values, stop = params.load(), StopFlag.install()
    stop.check()
    if not options.pdf_only:
        code = revision(Path())
        written = build(Path(), values.report.title, values.report.names, code)
        print(f"{len(written)} files in reports/")
        if code is None or code.dirty:
            print(f"note: the report is marked DRAFT, because {DIRTY if code else UNKNOWN}. {AGAIN}")
    stop.check()
    paper = compile_paper(Path("reports/paper.tex"))
    if paper is None:
        print(
            f"note: {ENGINE} is not installed, so reports/paper.tex was not compiled; everything else is complete. "
            "Next: install TeX Live with latexmk, then `python -m latentwire.stages.report --pdf-only`."
        )
    else:
        print(f"compiled {paper}")
    publish_statistics(values, Path(), artifacts(Path("reports")))


def revision(root: Path) -> Revision | None:
    """The newest commit of what defines the results, and whether files differ from it; None without git.

    A commit of anything else, such as `dvc.lock`, is no other code, so that publishing results does not change them.
    """
    from latentwire.reporting.facts import Revision

    commit, changed = git.newest_commit(root, CODE), git.has_changes(root, CODE)
    return Revision(commit, changed) if commit and changed is not None else None


def artifacts(reports: Path) -> dict[str, list[Path]]:
    """Folder in MLflow → files of the report that are attached there."""
    papers = [reports / name for name in ("paper.tex", "paper.pdf", "report.html", "report.md", "provenance.json")]
    return {
        "figures": sorted((reports / "figures").iterdir()),
        "tables": sorted((reports / "tables").iterdir()),
        "": [path for path in papers if path.is_file()],
    }


if __name__ == "__main__":
    entry(main)
