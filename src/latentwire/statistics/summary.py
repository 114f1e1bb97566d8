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
from latentwire.statistics.average_records import (
    AVERAGE_FAMILY,
    average_differences,
    average_records,
    main_table_rows,
)
from latentwire.statistics.blocks import block_records
from latentwire.statistics.bootstrap import BootstrapPlan
from latentwire.statistics.calibration import estimate_calibration
from latentwire.statistics.comparisons import (
    Settings,
    StatsRecord,
    cell_record,
    compare_methods,
    settings_from_section,
)
from latentwire.statistics.control_records import CONTROL, CONTROL_FAMILY, control_records
from latentwire.statistics.details import comparison_details
from latentwire.statistics.evidence import Evidence, PredictionSource, gather_evidence
from latentwire.statistics.families import (
    METRIC,
    Pair,
    cell_id,
    comparison_families,
    comparison_id,
    comparison_ids,
    correct_family,
)
from latentwire.statistics.golds import golds_digests
from latentwire.statistics.grid import CHANCE, Grid, GridMethod, expected_grid
from latentwire.statistics.rank_records import rank_records
from latentwire.statistics.runs import run_records
from latentwire.statistics.scores import Scores

STATS_SCHEMA = "latentwire-stats/3"


def compute_statistics(results: Path, values: Params) -> StatsRecord:
    """All statistics of the predictions in `results/`, as the parameters declare them.

    Raises:
        EvidenceError: Something is missing, doubled, unequal, not a number, or was made from something else.
    """
    grid = expected_grid(values)
    evidence = gather_evidence(results, grid)
    summary = _summarise(evidence, grid, settings_from_section(values.aggregate))
    runs = run_records(results, evidence, values.train.mode, values.runtime.numerics)
    return {**summary, "runs": runs, "parameters": parameters_digest(values)}


def parameters_digest(values: Params) -> str:
    """SHA-256 of every parameter that a result can depend on; how often a run is saved changes none."""
    kept = values.model_dump(mode="json", by_alias=True, exclude={"report", "verify", "tracking"})
    del kept["train"]["checkpoint"]
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()


def _summarise(evidence: Evidence, grid: Grid, settings: Settings) -> StatsRecord:
    """The statistics of the grid: everything that is computed from scores."""
    cells = dict(_cells(evidence, grid, settings))
    declared = comparison_families(grid, settings.reference)
    comparisons = _compare_all(evidence, [pair for pairs in declared.values() for pair in pairs], settings)
    families = {
        name: correct_family(name, comparison_ids(pairs), comparisons, settings) for name, pairs in declared.items()
    }
    means, differences = average_records(evidence, grid, settings), average_differences(evidence, grid, settings)
    if differences:
        families[AVERAGE_FAMILY] = correct_family(AVERAGE_FAMILY, list(differences), differences, settings)
    controls = control_records(evidence, grid, settings)
    if controls:
        families[CONTROL_FAMILY] = correct_family(CONTROL_FAMILY, list(controls), controls, settings, CONTROL)
    summary = {
        "schema": STATS_SCHEMA,
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
        "comparisons": {**comparisons, **differences},
        "controls": controls,
        "main": main_table_rows(grid, settings, means),
        "families": families,
        "calibration": _calibrations(evidence, cells, settings),
        "ranks": rank_records(cells, grid, settings),
        "blocks": block_records(evidence, grid, settings, cells, comparisons),
        "sources": {path: _source(source) for path, source in evidence.sources.items()},
    }
    return dict(round_floats(summary))


def round_floats(value: Any) -> Any:
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
        return {key: round_floats(inner) for key, inner in value.items()}
    return [round_floats(inner) for inner in value] if isinstance(value, list | tuple) else value


def _cells(evidence: Evidence, grid: Grid, settings: Settings) -> Iterator[tuple[str, StatsRecord]]:
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
                **cell_record(scores, method.trained, settings),
                "bytes_per_example": _one(costs, f"bytes_per_example of {name} on {task}"),
                "sees": _sees(method, evidence.sources[paths[0]].meta["sees"]),
                "sources": paths,
            },
        )


def _calibrations(evidence: Evidence, cells: Mapping[str, StatsRecord], settings: Settings) -> dict[str, StatsRecord]:
    """Calibration of every cell, under its id with `ece` for the metric."""
    plan = BootstrapPlan(settings.resamples, settings.seed)
    return {
        cell_id(*key, metric="ece"): {
            **{name: cells[cell_id(*key)][name] for name in ("task", "model", "method", "sources")},
            **estimate_calibration(right, evidence.confidence[key], settings.confidence, plan),
        }
        for key, right in evidence.scores.items()
    }


def _sees(method: GridMethod, sees: Mapping[str, bool]) -> dict[str, bool]:
    """What a method sees of an example; a control sees nothing of it."""
    return {name: seen and method.control_of is None for name, seen in sees.items()}


def _one(values: set[float], what: str) -> float:
    if len(values) != 1:
        raise EvidenceError(
            f"The {what} is {sorted(values)} in its seeds, expected one value. Next: `dvc repro evaluate baseline`."
        )
    return values.pop()


def _compare_all(evidence: Evidence, pairs: Sequence[Pair], settings: Settings) -> dict[str, StatsRecord]:
    by_cell: dict[tuple[str, str], dict[str, Scores]] = {(task, name): {} for task, _, name in evidence.scores}
    for (task, model, name), scores in evidence.scores.items():
        by_cell[task, name][model] = scores
    records: dict[str, StatsRecord] = {}
    for task, scope, receiver, a, b in dict.fromkeys(pairs):
        first, second = (_answers(by_cell[task, name], receiver) for name in (a, b))
        head = {"task": task, "receiver": scope, "a": a, "b": b}
        beside = comparison_details(first, second, settings)
        records[comparison_id(task, scope, a, b)] = {**head, **compare_methods(first, second, settings), **beside}
    return records


def _answers(by_model: Mapping[str, Scores], receiver: str) -> Scores:
    return by_model[receiver] if receiver in by_model else next(iter(by_model.values()))


def _task(evidence: Evidence, grid: Grid, task: str) -> StatsRecord:
    golds = evidence.golds[task]
    counts = golds.counts()
    return {
        "n": len(golds.examples),
        "counts": counts,
        "absent": [label for label in grid.tasks[task] if label not in counts],
        "data_digest": golds.data_digest,
        **golds_digests(golds),
    }


def _method(method: GridMethod) -> StatsRecord:
    return {
        "trained": method.trained,
        "control_of": method.control_of,
        "models": list(method.models),
        "seeds": None if method.seeds is None else list(method.seeds),
        "reads_receiver": method.reads_receiver,
    }


def _source(source: PredictionSource) -> StatsRecord:
    return {
        "sha256": source.sha256,
        "rows": source.rows,
        "checkpoint": source.meta["checkpoint"],
        "data_digest": source.meta["data_digest"],
        "slots": source.meta["slots"],
    }
