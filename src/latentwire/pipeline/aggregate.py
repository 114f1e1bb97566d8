"""Stored predictions → `results/aggregate/`: statistics, and what DVC shows of them."""

from __future__ import annotations

from pathlib import Path

from latentwire.loaded_kernels import check_numpy_kernels
from latentwire.params.load import AnyParams
from latentwire.statistics.curves import learning_curves
from latentwire.statistics.grid import expected_grid
from latentwire.statistics.summary import compute_statistics
from latentwire.statistics.write import write_statistics
from latentwire.tracking import publish
from unbroken.preemption import StopFlag


def aggregate_results(values: AnyParams) -> None:
    """Aggregate the results of the repository in the current folder, and tell MLflow.

    Raises:
        ConfigurationError: numpy was imported with other kernels than these numbers are promised for.
    """
    check_numpy_kernels()
    results, stop = Path("results"), StopFlag.install()
    stop.check()
    summary = compute_statistics(results, values)
    stop.check()
    write_statistics(
        results / "aggregate", summary, learning_curves(results, expected_grid(values), values.train.steps)
    )
    print(
        f"{len(summary['classes'])} cells and {len(summary['comparisons'])} differences in results/aggregate/stats.json"
    )
    publish.publish_journals(values, Path())
    publish.publish_statistics(values, Path(), {})
