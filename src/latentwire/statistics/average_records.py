"""Records of the means over tasks: every method, and its difference from the reference."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from latentwire.statistics.claims import NO_VARIANCE, minimum_detectable, outcome
from latentwire.statistics.comparisons import Record, Settings, design
from latentwire.statistics.evidence import Evidence
from latentwire.statistics.families import PLACE, cell_id, comparison_id, place_of, serving
from latentwire.statistics.grid import Grid, Method
from latentwire.statistics.mean_over_tasks import estimate_average
from latentwire.statistics.scores import Paired, Scores, digest_of, pair
from latentwire.statistics.signature import signature
from latentwire.statistics.twoway import Estimate

FAMILY = "average_versus_reference"


def averages(evidence: Evidence, grid: Grid, settings: Settings) -> dict[str, Record]:
    """Mean accuracy over the tasks of every method on every model that answers; none where there is one task."""
    if len(grid.tasks) < 2:
        return {}
    found = {}
    for method in grid.methods.values():
        for model in method.models:
            found[cell_id(PLACE, model, method.name)] = _average(evidence, grid, method, model, settings)
    return found


def differences(evidence: Evidence, grid: Grid, settings: Settings) -> dict[str, Record]:
    """Mean differences from the reference over the tasks, as the family of the main table."""
    if len(grid.tasks) < 2:
        return {}
    return dict(_differences(evidence, grid, settings))


def _differences(evidence: Evidence, grid: Grid, settings: Settings) -> Iterator[tuple[str, Record]]:
    reference = grid.methods[settings.reference]
    for receiver in grid.receivers:
        for method in serving(grid, receiver):
            if method.name != reference.name:
                key = comparison_id(PLACE, place_of(method, reference, receiver), method.name, reference.name)
                yield key, _difference(evidence, grid, (method, reference), receiver, settings)


def _average(evidence: Evidence, grid: Grid, method: Method, model: str, settings: Settings) -> Record:
    scores = [evidence.scores[task, model, method.name] for task in grid.tasks]
    found = estimate_average([Paired(one.values) for one in scores])
    low, high = found.interval(settings.confidence) or (None, None)
    return {
        "model": model,
        "method": method.name,
        "value": found.mean,
        "low": low,
        "high": high,
        "reason": None if low is not None else NO_VARIANCE,
        **design(found),
        "sources": _sources(evidence, [method]),
        "signature": _signature(found, scores, settings),
    }


def _difference(
    evidence: Evidence, grid: Grid, methods: tuple[Method, Method], receiver: str, settings: Settings
) -> Record:
    a, b = ([evidence.scores[task, str(m.model_for(receiver)), m.name] for task in grid.tasks] for m in methods)
    found = estimate_average([pair(*both) for both in zip(a, b, strict=True)])
    kept = estimate_average([pair(*both, settings.retained) for both in zip(a, b, strict=True)])
    low, high = found.interval(settings.confidence) or (None, None)
    return {
        "receiver": receiver,
        "a": methods[0].name,
        "b": methods[1].name,
        "value": found.mean,
        "low": low,
        "high": high,
        "p": found.p_value(),
        "mde": minimum_detectable(found, settings.alpha),
        "reason": None if low is not None else NO_VARIANCE,
        **design(found),
        "retention": {
            "retained": settings.retained, "p": kept.p_above(), "outcome": outcome(kept, settings.alpha),
        },
        "adjusted": {},
        "sources": _sources(evidence, methods),
        "signature": _signature(found, a, settings, p="t"),
    }  # fmt: skip


def _signature(found: Estimate, scores: Sequence[Scores], settings: Settings, **test: str) -> str:
    ids = digest_of([one.ids for one in scores])[:8]
    return signature(
        ci="twoway-average", conf=settings.confidence, **test, S=found.seeds, N=found.examples, T=len(scores), ids=ids
    )


def _sources(evidence: Evidence, methods: Sequence[Method]) -> list[str]:
    return [
        path for path, source in evidence.sources.items() if any(method.name in source.item.holds for method in methods)
    ]


def rows(grid: Grid, settings: Settings, known: Mapping[str, Record]) -> list[Record]:
    """Receiver → rows of the main table: ids of the means and of their differences; empty where there is one task."""
    if not known:
        return []
    reference = grid.methods[settings.reference]
    return [
        {"receiver": receiver, "rows": [_row(method, reference, receiver) for method in serving(grid, receiver)]}
        for receiver in grid.receivers
    ]


def _row(method: Method, reference: Method, receiver: str) -> Record:
    mean = cell_id(PLACE, str(method.model_for(receiver)), method.name)
    if method.name == reference.name:
        return {"method": method.name, "average": mean, "difference": None}
    key = comparison_id(PLACE, place_of(method, reference, receiver), method.name, reference.name)
    return {"method": method.name, "average": mean, "difference": key}
