"""A record for every declared difference, by the metric of its task, with what the other metrics say of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from latentwire.statistics.bootstrap import BootstrapPlan, match_seeds
from latentwire.statistics.comparisons import Settings, StatsRecord, compare_methods
from latentwire.statistics.details import comparison_details
from latentwire.statistics.evidence import Key
from latentwire.statistics.families import Pair, pair_id
from latentwire.statistics.grid import Grid
from latentwire.statistics.measures import Measured
from latentwire.statistics.scores import Scores, pair_scores
from latentwire.statistics.twoway import estimate_mean


def compare_pairs(measured: Measured, grid: Grid, pairs: Sequence[Pair], settings: Settings) -> dict[str, StatsRecord]:
    """The differences by id; `metrics` holds each by every metric, `opposed` the metrics whose sign is the other."""
    return {pair_id(grid, pair): _record(measured, grid, pair, settings) for pair in dict.fromkeys(pairs)}


def _record(measured: Measured, grid: Grid, pair: Pair, settings: Settings) -> StatsRecord:
    task, scope, receiver, a, b = pair
    sides: tuple[Key, Key] = (_key(grid, task, receiver, a), _key(grid, task, receiver, b))
    by_metric = {name: pair_cells(grid, cells, sides, settings) for name, cells in measured.items()}
    primary = grid.metric_of(task)
    metrics = {name: _difference(*both, settings) for name, both in by_metric.items()}
    return {
        "task": task,
        "receiver": scope,
        "a": a,
        "b": b,
        "metric": primary,
        **compare_methods(*by_metric[primary], settings),
        **comparison_details(*by_metric[primary], settings),
        "metrics": metrics,
        "opposed": find_opposed({name: record["value"] for name, record in metrics.items()}, primary),
    }


def pair_cells(
    grid: Grid, cells: Mapping[Key, Scores], sides: tuple[Key, Key], settings: Settings
) -> tuple[Scores, Scores]:
    """The scores of two cells, of trained methods on the seeds that both have.

    A control with trainings of its own has other trainings, whose seeds correspond to none.
    """
    a, b = (cells[side] for side in sides)
    if any(grid.methods[method].permuted for _, _, method in sides):
        return a, b
    return match_seeds(a, b, BootstrapPlan(settings.resamples, settings.seed))


def find_opposed(differences: Mapping[str, float], primary: str) -> list[str]:
    """Metrics by which the other method is ahead than by the primary one."""
    return [name for name, value in differences.items() if value * differences[primary] < 0]


def _key(grid: Grid, task: str, receiver: str, method: str) -> Key:
    return task, str(grid.methods[method].model_for(receiver)), method


def _difference(a: Scores, b: Scores, settings: Settings) -> StatsRecord:
    """Difference and interval, not corrected: only that of the primary metric is tested."""
    difference = estimate_mean(pair_scores(a, b))
    low, high = difference.interval(settings.confidence) or (None, None)
    return {"value": difference.mean, "low": low, "high": high}
