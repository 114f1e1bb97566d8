"""Records of the means over tasks: every method, and its difference from the reference."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from latentwire.statistics.claims import NO_VARIANCE, decide_noninferiority
from latentwire.statistics.comparisons import Settings, StatsRecord, design_record
from latentwire.statistics.evidence import Evidence
from latentwire.statistics.exact import proportion_interval
from latentwire.statistics.families import ALL_TASKS, cell_id, comparison_id, methods_for_receiver, scope_of
from latentwire.statistics.grid import Grid, GridMethod
from latentwire.statistics.mean_over_tasks import estimate_mean_over_tasks
from latentwire.statistics.scores import Scores, digest_items, pair_scores
from latentwire.statistics.signature import format_signature
from latentwire.statistics.twoway import Estimate

AVERAGE_FAMILY = "average_versus_reference"


def average_records(evidence: Evidence, grid: Grid, settings: Settings) -> dict[str, StatsRecord]:
    """Mean over the tasks, each by its metric, of every method by model; none where there is one task."""
    if len(grid.tasks) < 2:
        return {}
    return {
        cell_id(ALL_TASKS, model, method.name, grid.metric_of_mean): _average(evidence, grid, method, model, settings)
        for method in grid.methods.values()
        for model in method.models
    }


def average_differences(evidence: Evidence, grid: Grid, settings: Settings) -> dict[str, StatsRecord]:
    """Mean differences from the reference over the tasks, as the family of the main table."""
    if len(grid.tasks) < 2:
        return {}
    return dict(_differences(evidence, grid, settings))


def _differences(evidence: Evidence, grid: Grid, settings: Settings) -> Iterator[tuple[str, StatsRecord]]:
    reference = grid.methods[settings.reference]
    for receiver in grid.receivers:
        for method in methods_for_receiver(grid, receiver):
            if method.name != reference.name and not method.control_of:
                yield (
                    _difference_id(grid, method, reference, receiver),
                    _difference(evidence, grid, (method, reference), receiver, settings),
                )


def _average(evidence: Evidence, grid: Grid, method: GridMethod, model: str, settings: Settings) -> StatsRecord:
    scores = [evidence.scores[task, model, method.name] for task in grid.tasks]
    mean = estimate_mean_over_tasks([task.paired for task in scores])
    low, high = (None, None) if mean.constant else proportion_interval(mean, settings.confidence)
    return {
        "model": model,
        "method": method.name,
        "value": mean.mean,
        "low": low,
        "high": high,
        "reason": None if low is not None else NO_VARIANCE,
        **design_record(mean),
        "sources": _sources(evidence, [method]),
        "signature": _signature("wilson-average", mean, scores, settings),
    }


def _difference(
    evidence: Evidence, grid: Grid, methods: tuple[GridMethod, GridMethod], receiver: str, settings: Settings
) -> StatsRecord:
    a, b = ([evidence.scores[task, str(m.model_for(receiver)), m.name] for task in grid.tasks] for m in methods)
    difference = estimate_mean_over_tasks([pair_scores(*both) for both in zip(a, b, strict=True)])
    kept = estimate_mean_over_tasks([pair_scores(*both, settings.retained) for both in zip(a, b, strict=True)])
    low, high = difference.interval(settings.confidence) or (None, None)
    by_task = [float(first.values.mean() - second.values.mean()) for first, second in zip(a, b, strict=True)]
    return {
        "by_task": dict(zip(grid.tasks, by_task, strict=True)),
        "signs_differ": min(by_task) < 0 < max(by_task),
        "receiver": receiver,
        "a": methods[0].name,
        "b": methods[1].name,
        "value": difference.mean,
        "low": low,
        "high": high,
        "p": difference.p_value(),
        "reason": None if low is not None else NO_VARIANCE,
        **design_record(difference),
        "retention": {
            "retained": settings.retained, **_kept(kept, settings),
        },
        "sources": _sources(evidence, methods),
        "signature": _signature("twoway-average", difference, a, settings, p="t"),
    }  # fmt: skip


def _kept(contrast: Estimate, settings: Settings) -> StatsRecord:
    """The one-sided test; none where every task repeats one value of its own, which are no sample of one population."""
    if contrast.constant:
        return {"p": None, "outcome": "inconclusive"}
    p, outcome = decide_noninferiority(contrast, settings.alpha, (-settings.retained, 1.0))
    return {"p": p, "outcome": outcome}


def _signature(kind: str, mean: Estimate, scores: Sequence[Scores], settings: Settings, **test: str) -> str:
    ids = digest_items([task.ids for task in scores])[:8]
    return format_signature(
        ci=kind, conf=settings.confidence, **test, S=mean.seeds, N=mean.examples, T=len(scores), ids=ids
    )


def _sources(evidence: Evidence, methods: Sequence[GridMethod]) -> list[str]:
    return [
        path for path, source in evidence.sources.items() if any(method.name in source.item.holds for method in methods)
    ]


def main_table_rows(grid: Grid, settings: Settings, known: Mapping[str, StatsRecord]) -> list[StatsRecord]:
    """Rows of the main table by receiver: ids of the means and of their differences; empty where there is one task."""
    if not known:
        return []
    reference = grid.methods[settings.reference]
    return [
        {
            "receiver": receiver,
            "rows": [_row(grid, method, reference, receiver) for method in methods_for_receiver(grid, receiver)],
        }
        for receiver in grid.receivers
    ]


def _row(grid: Grid, method: GridMethod, reference: GridMethod, receiver: str) -> StatsRecord:
    mean = cell_id(ALL_TASKS, str(method.model_for(receiver)), method.name, grid.metric_of_mean)
    if method.name == reference.name or method.control_of:
        return {"method": method.name, "average": mean, "difference": None}
    key = _difference_id(grid, method, reference, receiver)
    return {"method": method.name, "average": mean, "difference": key}


def _difference_id(grid: Grid, a: GridMethod, b: GridMethod, receiver: str) -> str:
    return comparison_id(ALL_TASKS, scope_of(a, b, receiver), a.name, b.name, grid.metric_of_mean)
