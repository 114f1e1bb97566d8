"""Stage `report`: `results/aggregate/` → tables, figures and the paper under `reports/`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from latentwire.exits import run_stage
from latentwire.params.load import load_any_params


def main(argv: Sequence[str] | None = None) -> None:
    """Build the report of the repository in the current folder; `--pdf-only` compiles what is there."""
    parser = argparse.ArgumentParser(prog="python -m latentwire.stages.report", description=__doc__)
    parser.add_argument("--pdf-only", action="store_true", help="only compile reports/paper.tex")
    options = parser.parse_args(argv)

    from latentwire.pipeline.report import make_report

    make_report(load_any_params(), pdf_only=options.pdf_only)


if __name__ == "__main__":
    run_stage(main, stage="report")
