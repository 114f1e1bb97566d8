"""Stage `aggregate`: stored predictions → `results/aggregate/stats.json` and what DVC shows of it."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from latentwire.exits import entry
from latentwire.params import load as params


def main(argv: Sequence[str] | None = None) -> None:
    """Aggregate the results of the repository in the current folder."""
    argparse.ArgumentParser(prog="python -m latentwire.stages.aggregate", description=__doc__).parse_args(argv)

    from latentwire.statistics.curves import learning_curves
    from latentwire.statistics.grid import expected_grid
    from latentwire.statistics.summary import compute_statistics
    from latentwire.statistics.write import write_statistics
    from latentwire.tracking.publish import publish_journals, publish_statistics
    from unbroken.preemption import StopFlag

    values, stop = params.load(), StopFlag.install()
    results = Path("results")
    stop.check()
    summary = compute_statistics(results, values)
    stop.check()
    write_statistics(
        results / "aggregate", summary, learning_curves(results, expected_grid(values), values.train.steps)
    )
    print(
        f"{len(summary['cells'])} cells and {len(summary['comparisons'])} differences in results/aggregate/stats.json"
    )
    publish_journals(values, Path())
    publish_statistics(values, Path(), {})


if __name__ == "__main__":
    entry(main)
