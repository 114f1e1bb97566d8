"""Methods ranked: within a block by the crossed bootstrap, and over data sets where there are enough of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from scipy import stats

from latentwire.statistics.bootstrap import BootstrapPlan, percentile_interval, resample_crossed
from latentwire.statistics.comparisons import Settings, StatsRecord
from latentwire.statistics.families import ALL_TASKS, cell_id, methods_for_receiver
from latentwire.statistics.grid import Grid
from latentwire.statistics.ranks import critical_difference, explain_missing_ranks, friedman_test, pairwise_wilcoxon
from latentwire.statistics.scores import Scores
from latentwire.statistics.signature import format_signature


def block_ranks(scores: Sequence[Scores], names: Sequence[str], settings: Settings) -> StatsRecord:
    """Rank of every method of a block with its interval, and how often it is the best; all share the draws."""
    draws = np.stack(resample_crossed(scores, BootstrapPlan(settings.resamples, settings.seed)), axis=1)
    ranks = stats.rankdata(-draws, axis=1)
    observed = stats.rankdata([-float(method.values.mean()) for method in scores])
    best = draws == draws.max(axis=1, keepdims=True)
    shares = (best / best.sum(axis=1, keepdims=True)).mean(axis=0)
    methods: StatsRecord = {}
    for number, name in enumerate(names):
        low, high = percentile_interval(ranks[:, number], settings.confidence)
        methods[name] = {"rank": float(observed[number]), "low": low, "high": high, "best": float(shares[number])}
    seeds = max(len(method.values) for method in scores)
    return {
        "methods": methods,
        "signature": format_signature(
            ci="pigeonhole", conf=settings.confidence, S=seeds, N=len(scores[0].examples), R=settings.resamples,
            seed=settings.seed, ids=scores[0].ids[:8],
        ),
    }  # fmt: skip


def rank_records(cells: Mapping[str, StatsRecord], grid: Grid, settings: Settings) -> dict[str, StatsRecord]:
    """Ranks over the tasks, a record for each receiver; below six tasks the reason why there are none."""
    reason = explain_missing_ranks(len(grid.tasks))
    return {
        f"{ALL_TASKS}/{receiver}/ranks": {"data_sets": len(grid.tasks), "model": receiver, "reason": reason}
        if reason
        else {"model": receiver, **_over_tasks(cells, grid, receiver, settings)}
        for receiver in grid.receivers
    }


def _over_tasks(cells: Mapping[str, StatsRecord], grid: Grid, receiver: str, settings: Settings) -> StatsRecord:
    methods = [method for method in methods_for_receiver(grid, receiver) if method.control_of is None]
    ids = [
        [cell_id(task, str(m.model_for(receiver)), m.name, grid.metric_of(task)) for m in methods]
        for task in grid.tasks
    ]
    table = np.array([[cells[key]["value"] for key in row] for row in ids])
    sets, count = table.shape
    test = friedman_test(table)
    return {
        "data_sets": sets,
        "reason": None,
        "methods": {method.name: rank for method, rank in zip(methods, test.ranks, strict=True)},
        "friedman": {"statistic": test.statistic, "p": test.p},
        "critical_difference": critical_difference(count, sets, settings.alpha),
        "pairs": [
            {"a": methods[i].name, "b": methods[j].name, "p": raw, "p_adjusted": corrected}
            for (i, j), (raw, corrected) in pairwise_wilcoxon(table).items()
        ],
        "signature": format_signature(p="wilcoxon", adj="holm", m=count * (count - 1) // 2, sets=sets),
    }
