"""`stats.json`: every number of the report, each with an id, its estimand and its signature."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from latentwire.errors import EvidenceError
from latentwire.params.load import Params
from latentwire.statistics import average_records as averages
from latentwire.statistics.bootstrap import Plan
from latentwire.statistics.calibration import calibration
from latentwire.statistics.comparisons import Record, Settings, cell, compare, settings_of, verdict
from latentwire.statistics.details import details
from latentwire.statistics.evidence import Evidence, Source, gather
from latentwire.statistics.families import (
    METRIC,
    Pair,
    cell_id,
    comparison_id,
    correct,
    declared,
    ids_of,
    place_of,
    serving,
)
from latentwire.statistics.golds import digests
from latentwire.statistics.grid import CHANCE, Grid, Method, expected
from latentwire.statistics.multiplicity import adjust
from latentwire.statistics.rank_records import block_ranks, rank_records
from latentwire.statistics.runs import runs
from latentwire.statistics.scores import Scores

SCHEMA = "latentwire-stats/2"


def summary_of(results: Path, values: Params) -> Record:
    """All statistics of the predictions in `results/`, as the parameters declare them.

    Raises:
        EvidenceError: Something is missing, doubled, unequal, not a number, or was made from something else.
    """
    grid = expected(values)
    evidence = gather(results, grid)
    summary = summarise(evidence, grid, settings_of(values.aggregate))
    return {**summary, "runs": runs(results, evidence, values.train.mode), "parameters": parameters_digest(values)}


def parameters_digest(values: Params) -> str:
    """SHA-256 of every parameter that a result can depend on; how often a run is saved changes none."""
    kept = values.model_dump(mode="json", by_alias=True, exclude={"report", "verify", "tracking"})
    del kept["train"]["checkpoint"]
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()


def summarise(evidence: Evidence, grid: Grid, settings: Settings) -> Record:
    """The statistics of the grid: everything that is computed from scores."""
    cells = dict(_cells(evidence, grid, settings))
    wanted = declared(grid, settings.reference)
    comparisons = _compare_all(evidence, [pair for pairs in wanted.values() for pair in pairs], settings)
    families = {name: correct(name, ids_of(pairs), comparisons, settings) for name, pairs in wanted.items()}
    means, apart = averages.averages(evidence, grid, settings), averages.differences(evidence, grid, settings)
    if apart:
        families[averages.FAMILY] = correct(averages.FAMILY, list(apart), apart, settings)
    summary = {
        "schema": SCHEMA,
        "settings": {**vars(settings), "metric": METRIC, "chance": CHANCE, "alpha": settings.alpha},
        "tasks": {task: _task(evidence, grid, task) for task in grid.tasks},
        "models": {name: dict(facts) for name, facts in evidence.models.items()},
        "methods": {name: _method(method) for name, method in grid.methods.items()},
        "order": {
            "tasks": list(grid.tasks),
            "receivers": list(grid.receivers),
            "methods": list(grid.methods),
        },
        "cells": cells,
        "averages": means,
        "comparisons": {**comparisons, **apart},
        "main": averages.rows(grid, settings, means),
        "families": families,
        "calibration": _calibrations(evidence, cells, settings),
        "ranks": rank_records(cells, grid, settings),
        "blocks": _blocks(evidence, grid, settings, cells),
        "sources": {path: _source(source) for path, source in evidence.sources.items()},
    }
    return dict(rounded(summary))


def rounded(value: Any) -> Any:
    """The same with every float at ten significant digits, so that the last bits of a sum are not a result.

    Raises:
        EvidenceError: A number is not finite.
    """
    if isinstance(value, float):
        if not math.isfinite(value):
            raise EvidenceError(
                f"A statistic came out as {value}, expected a number or null. Next: report this as a bug."
            )
        return float(f"{value:.10g}")
    if isinstance(value, Mapping):
        return {key: rounded(inner) for key, inner in value.items()}
    return [rounded(inner) for inner in value] if isinstance(value, list | tuple) else value


def _cells(evidence: Evidence, grid: Grid, settings: Settings) -> Iterator[tuple[str, Record]]:
    for (task, model, name), scores in evidence.scores.items():
        method = grid.methods[name]
        paths = [path for path, source in evidence.sources.items() if source.item.feeds(task, name)]
        costs = {float(evidence.sources[path].meta["bytes_per_example"]) for path in paths}
        yield (
            cell_id(task, model, name),
            {
                "task": task,
                "model": model,
                "method": name,
                **cell(scores, method.trained, settings),
                "bytes_per_example": _one(costs, f"bytes_per_example of {name} on {task}"),
                "sees": dict(evidence.sources[paths[0]].meta["sees"]),
                "sources": paths,
            },
        )


def _calibrations(evidence: Evidence, cells: Mapping[str, Record], settings: Settings) -> dict[str, Record]:
    """Calibration of every cell, under its id with `ece` for the metric."""
    plan = Plan(settings.resamples, settings.seed)
    return {
        cell_id(*key, metric="ece"): {
            **{name: cells[cell_id(*key)][name] for name in ("task", "model", "method", "sources")},
            **calibration(right, evidence.confidence[key], settings.confidence, plan),
        }
        for key, right in evidence.scores.items()
    }


def _one(values: set[float], what: str) -> float:
    if len(values) != 1:
        raise EvidenceError(
            f"The {what} is {sorted(values)} in its seeds, expected one value. Next: `dvc repro evaluate baseline`."
        )
    return values.pop()


def _compare_all(evidence: Evidence, pairs: Sequence[Pair], settings: Settings) -> dict[str, Record]:
    by_cell: dict[tuple[str, str], dict[str, Scores]] = {(task, name): {} for task, _, name in evidence.scores}
    for (task, model, name), scores in evidence.scores.items():
        by_cell[task, name][model] = scores
    records: dict[str, Record] = {}
    for task, place, receiver, a, b in dict.fromkeys(pairs):
        first, second = (_answers(by_cell[task, name], receiver) for name in (a, b))
        head = {"task": task, "receiver": place, "a": a, "b": b, "adjusted": {}}
        beside = details(first, second, settings)
        records[comparison_id(task, place, a, b)] = {**head, **compare(first, second, settings), **beside}
    return records


def _answers(by_model: Mapping[str, Scores], receiver: str) -> Scores:
    return by_model[receiver] if receiver in by_model else next(iter(by_model.values()))


def _blocks(evidence: Evidence, grid: Grid, settings: Settings, cells: Mapping[str, Record]) -> list[Record]:
    return [
        _block(evidence, grid, settings, cells, task, receiver) for task in grid.tasks for receiver in grid.receivers
    ]


def _block(
    evidence: Evidence, grid: Grid, settings: Settings, cells: Mapping[str, Record], task: str, receiver: str
) -> Record:
    """The rows of one task and receiver: ids of cells and differences, the best method and its ties."""
    methods = serving(grid, receiver)
    keys = {m.name: (task, str(m.model_for(receiver)), m.name) for m in methods}
    contenders = [m.name for m in methods if m.control_of is None]
    best = max(contenders, key=lambda name: cells[cell_id(*keys[name])]["value"])
    against = {
        name: compare(evidence.scores[keys[name]], evidence.scores[keys[best]], settings)
        for name in contenders
        if name != best
    }
    corrected = adjust({name: record["p"] for name, record in against.items()}, settings.adjust)
    tied = [
        name
        for name, record in against.items()
        if verdict(record, corrected[name], settings.alpha) == "not different"
        and record["retention"]["outcome"] == "non-inferior"
    ]
    return {
        "task": task,
        "receiver": receiver,
        "rows": [_row(grid, m, task, receiver, cell_id(*keys[m.name]), settings) for m in methods],
        "best": best,
        "tied": tied,
        "ranks": block_ranks([evidence.scores[keys[name]] for name in contenders], contenders, settings),
    }


def _row(grid: Grid, method: Method, task: str, receiver: str, key: str, settings: Settings) -> Record:
    def difference(other: str) -> str | None:
        if other == method.name:
            return None
        return comparison_id(task, place_of(method, grid.methods[other], receiver), method.name, other)

    return {
        "method": method.name,
        "cell": key,
        "versus_reference": difference(settings.reference),
        "versus_chance": difference(CHANCE),
    }


def _task(evidence: Evidence, grid: Grid, task: str) -> Record:
    golds = evidence.golds[task]
    counts = golds.counts()
    return {
        "n": len(golds.examples),
        "counts": counts,
        "absent": [label for label in grid.tasks[task] if label not in counts],
        "data_digest": golds.data_digest,
        **digests(golds),
    }


def _method(method: Method) -> Record:
    return {
        "trained": method.trained,
        "control_of": method.control_of,
        "models": list(method.models),
        "seeds": None if method.seeds is None else list(method.seeds),
        "reads_receiver": method.reads_receiver,
    }


def _source(source: Source) -> Record:
    return {
        "sha256": source.sha256,
        "rows": source.rows,
        "checkpoint": source.meta["checkpoint"],
        "data_digest": source.meta["data_digest"],
        "slots": source.meta["slots"],
    }
