"""Stage `aggregate`: stored predictions → `results/aggregate/stats.json` and what DVC shows of it."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from latentwire.exits import run_stage
from latentwire.params.load import load_any_params


def main(argv: Sequence[str] | None = None) -> None:
    """Aggregate the results of the repository in the current folder."""
    argparse.ArgumentParser(prog="python -m latentwire.stages.aggregate", description=__doc__).parse_args(argv)

    from latentwire.pipeline.aggregate import aggregate_results

    aggregate_results(load_any_params())


if __name__ == "__main__":
    run_stage(main, stage="aggregate")
