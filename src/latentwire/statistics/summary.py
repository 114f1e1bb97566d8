"""`stats.json`: every number of the report, each with an id, its estimand and its signature."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from latentwire.errors import EvidenceError
from latentwire.params.load import AnyParams
from latentwire.statistics.average_records import (
    AVERAGE_FAMILY,
    average_differences,
    average_records,
    main_table_rows,
)
from latentwire.statistics.blocks import block_records
from latentwire.statistics.bootstrap import BootstrapPlan
from latentwire.statistics.calibration import estimate_calibration
from latentwire.statistics.class_records import class_records
from latentwire.statistics.comparisons import Settings, StatsRecord, cell_record, settings_from_section
from latentwire.statistics.control_records import CONTROL, CONTROL_FAMILY, control_records
from latentwire.statistics.disagreements import disagreement_records
from latentwire.statistics.evidence import Evidence, PredictionSource, gather_evidence
from latentwire.statistics.families import cell_id, comparison_families, comparison_ids, correct_family
from latentwire.statistics.golds import golds_digests
from latentwire.statistics.grid import CHANCE, Grid, GridMethod, expected_grid
from latentwire.statistics.measures import Measured, by_primary_metric, list_measured, measure_cells
from latentwire.statistics.pair_records import compare_pairs
from latentwire.statistics.rank_records import rank_records
from latentwire.statistics.runs import run_records
from latentwire.statistics.setup_record import setup_record
from latentwire.statistics.unseen_records import UNSEEN, UNSEEN_FAMILY, unseen_records

STATS_SCHEMA = "latentwire-stats/9"


def compute_statistics(results: Path, values: AnyParams) -> StatsRecord:
    """All statistics of the predictions in `results/`, as the parameters declare them.

    Raises:
        EvidenceError: Something is missing, doubled, unequal, not a number, or was made from something else.
    """
    grid, settings = expected_grid(values), settings_from_section(values.aggregate)
    evidence = gather_evidence(results, grid)
    summary = _summarise(evidence, grid, settings)
    runs = run_records(results, evidence, values.train.mode, values.runtime.numerics)
    disagreements = disagreement_records(results, evidence, grid, settings.reference)
    described = {"setup": setup_record(results, values), "disagreements": disagreements}
    return {**summary, **round_floats(described), "runs": runs, "parameters": parameters_digest(values)}


def parameters_digest(values: AnyParams) -> str:
    """SHA-256 of every parameter that a result can depend on; how often a run is saved changes none."""
    kept = values.model_dump(mode="json", by_alias=True, exclude={"report", "verify", "tracking"})
    del kept["train"]["checkpoint"]
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()


def _summarise(evidence: Evidence, grid: Grid, settings: Settings) -> StatsRecord:
    """The statistics of the grid: everything that is computed from scores.

    Cells are there by every metric; comparisons, means and ranks are by the one that a task declares.
    """
    measured = measure_cells(evidence, grid, BootstrapPlan(settings.resamples, settings.seed))
    cells = dict(_cells(evidence, measured, grid, settings))
    calibrations = _calibrations(evidence, settings)
    evidence = by_primary_metric(evidence, grid, measured)
    declared = comparison_families(grid, settings.reference)
    comparisons = compare_pairs(measured, grid, [pair for pairs in declared.values() for pair in pairs], settings)
    families = {
        name: correct_family(name, comparison_ids(grid, pairs), comparisons, settings)
        for name, pairs in declared.items()
    }
    means, differences = average_records(evidence, grid, settings), average_differences(evidence, grid, settings)
    if differences:
        families[AVERAGE_FAMILY] = correct_family(AVERAGE_FAMILY, list(differences), differences, settings)
    controls = control_records(evidence, grid, settings)
    if controls:
        families[CONTROL_FAMILY] = correct_family(CONTROL_FAMILY, list(controls), controls, settings, CONTROL)
    unseen = unseen_records(evidence, grid, settings)
    if unseen:
        families[UNSEEN_FAMILY] = correct_family(UNSEEN_FAMILY, list(unseen), unseen, settings, UNSEEN)
    summary = {
        "schema": STATS_SCHEMA,
        "settings": {
            **vars(settings),
            "metrics": {task: grid.metric_of(task) for task in grid.tasks},
            "metric_of_mean": grid.metric_of_mean,
            "chance": CHANCE,
            "alpha": settings.alpha,
        },
        "tasks": {task: _task(evidence, grid, task) for task in grid.tasks},
        "models": {name: dict(facts) for name, facts in evidence.models.items()},
        "methods": {name: _method(method) for name, method in grid.methods.items()},
        "order": {
            "tasks": list(grid.tasks),
            "receivers": list(grid.receivers),
            "methods": list(grid.methods),
        },
        "cells": cells,
        "classes": class_records(evidence, grid),
        "averages": means,
        "comparisons": {**comparisons, **differences},
        "controls": controls,
        "unseen": unseen,
        "main": main_table_rows(grid, settings, means),
        "families": families,
        "calibration": calibrations,
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


def _cells(evidence: Evidence, measured: Measured, grid: Grid, settings: Settings) -> Iterator[tuple[str, StatsRecord]]:
    for (task, model, name), metric, scores in list_measured(measured):
        method, paths = grid.methods[name], evidence.sources_of(task, name)
        costs = {evidence.sources[path].bytes_of(name) for path in paths}
        labels = [int(evidence.sources[path].meta["training_labels"]) for path in paths]
        yield (
            cell_id(task, model, name, metric),
            {
                "task": task,
                "model": model,
                "method": name,
                "metric": metric,
                **cell_record(scores, method.trained, settings),
                "bytes_per_example": _one(costs, f"bytes_per_example of {name} on {task}"),
                # Seeds differ in it where rare labels are drawn again and again.
                "training_labels": max(labels),
                "fewest_training_labels": min(labels),
                "sees": _sees(method, evidence.sources[paths[0]].meta.get("sees", {})),
                "sources": paths,
            },
        )


def _calibrations(evidence: Evidence, settings: Settings) -> dict[str, StatsRecord]:
    """Calibration of every cell, under its id with `ece` for the metric."""
    plan = BootstrapPlan(settings.resamples, settings.seed)
    return {
        cell_id(*key, metric="ece"): {
            **dict(zip(("task", "model", "method"), key, strict=True)),
            "sources": evidence.sources_of(key[0], key[2]),
            **estimate_calibration(right, evidence.confidence[key], settings.confidence, plan),
        }
        for key, right in evidence.scores.items()
    }


def _sees(method: GridMethod, sees: Mapping[str, bool]) -> dict[str, bool]:
    """What a method sees of an example: a control nothing of it, a probe on a wire not what the labels are called."""
    hidden = set() if method.probe_of is None else {"labels"}
    return {name: seen and method.reads_own_wire and name not in hidden for name, seen in sees.items()}


def _one(values: set[float], what: str) -> float:
    if len(values) != 1:
        raise EvidenceError(f"The {what} is {sorted(values)} in its seeds, expected one value. Next: `dvc repro`.")
    return values.pop()


def _task(evidence: Evidence, grid: Grid, task: str) -> StatsRecord:
    golds = evidence.golds[task]
    counts = golds.counts()
    return {
        "n": len(golds.examples),
        "counts": counts,
        "largest_class": max(counts.values()) / len(golds.examples),
        "absent": [label for label in grid.tasks[task] if label not in counts],
        "data_digest": golds.data_digest,
        **golds_digests(golds),
    }


def _method(method: GridMethod) -> StatsRecord:
    quantised = {"quantised_of": method.quantised_of} if method.quantised_of else {}
    return {
        "trained": method.trained,
        "ablation": method.ablation,
        "control_of": method.control_of,
        "probe_of": method.probe_of,
        "models": list(method.models),
        "seeds": None if method.seeds is None else list(method.seeds),
        "reads_receiver": method.reads_receiver,
        **quantised,
    }


def _source(source: PredictionSource) -> StatsRecord:
    return {
        "sha256": source.sha256,
        "rows": source.rows,
        "checkpoint": source.meta["checkpoint"],
        "data_digest": source.meta["data_digest"],
        "slots": source.meta.get("slots"),
    }
