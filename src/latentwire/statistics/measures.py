"""Every cell by every metric, and the evidence as the primary metric of each task scores it.

Shapes: S seeds, N examples, K classes, R resamples.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np

from latentwire.statistics.bootstrap import BootstrapPlan, draw_weights, resample_seeds
from latentwire.statistics.evidence import Evidence, Key
from latentwire.statistics.grid import Grid
from latentwire.statistics.metrics import ACCURACY, RESAMPLED, indicate_classes
from latentwire.statistics.scores import Matrix, Resampled, Scores

Measured = Mapping[str, Mapping[Key, Scores]]
"""Metric → cell → scores."""
Indicators = Mapping[Key, tuple[Matrix, Matrix]]
"""Cell → what is right and what is said, [S, N, K] each."""


def measure_cells(evidence: Evidence, grid: Grid, plan: BootstrapPlan) -> Measured:
    """The scores of every cell by every metric; all cells of a task share the examples that are drawn."""
    measured: dict[str, dict[Key, Scores]] = {ACCURACY: dict(evidence.scores), **{name: {} for name in RESAMPLED}}
    for task in grid.tasks:
        for name, cells in _measure_task(evidence, grid, task, plan).items():
            measured[name] |= cells
    return measured


def by_primary_metric(evidence: Evidence, grid: Grid, measured: Measured) -> Evidence:
    """The evidence with each cell scored by the metric that its task declares."""
    return replace(evidence, scores={key: measured[grid.metric_of(key[0])][key] for key in evidence.scores})


def list_measured(measured: Measured) -> Iterator[tuple[Key, str, Scores]]:
    """Every cell with every metric, the metrics of a cell together."""
    for key in measured[ACCURACY]:
        yield from ((key, metric, cells[key]) for metric, cells in measured.items())


def gold_numbers(evidence: Evidence, grid: Grid, task: str) -> Matrix:
    """The right label of every example [N], as its number among those of the task."""
    labels = grid.tasks[task]
    return np.array([labels.index(str(label)) for label in evidence.golds[task].labels], dtype=float)


def _measure_task(evidence: Evidence, grid: Grid, task: str, plan: BootstrapPlan) -> dict[str, dict[Key, Scores]]:
    classes, golds = len(grid.tasks[task]), gold_numbers(evidence, grid, task)
    wanted = indicate_classes(golds, classes)
    said = {key: indicate_classes(cell.values, classes) for key, cell in evidence.answers.items() if key[0] == task}
    indicators = {key: (wanted * shown, shown) for key, shown in said.items()}
    draws = _draw(indicators, wanted, plan)
    return {
        name: {
            key: _score(evidence.answers[key], [linear(one, wanted, other) for one, other in zip(*both, strict=True)],
                        draws[name][key], golds, plan)
            for key, both in indicators.items()
        }
        for name, (_, linear) in RESAMPLED.items()
    }  # fmt: skip


def _score(answers: Scores, rows: list[Matrix], draws: Matrix, golds: Matrix, plan: BootstrapPlan) -> Scores:
    resampled = Resampled(resample_seeds(draws, answers.seeds, plan), golds, draws)
    return replace(answers, values=np.stack(rows), resampled=resampled)


def _draw(indicators: Indicators, wanted: Matrix, plan: BootstrapPlan) -> dict[str, dict[Key, Matrix]]:
    """Metric → cell → the metric of every draw and seed [R, S]."""
    parts: dict[str, dict[Key, list[Matrix]]] = {name: {key: [] for key in indicators} for name in RESAMPLED}
    for weights in draw_weights(len(wanted), plan):
        for name, key, values in _draw_once(indicators, wanted, weights):
            parts[name][key].append(values)
    return {name: {key: np.concatenate(found) for key, found in cells.items()} for name, cells in parts.items()}


def _draw_once(indicators: Indicators, wanted: Matrix, weights: Matrix) -> Iterator[tuple[str, Key, Matrix]]:
    drawn = weights @ wanted
    for key, (right, said) in indicators.items():
        hits, answers = ((weights @ shown).swapaxes(0, 1) for shown in (right, said))
        for name, (metric, _) in RESAMPLED.items():
            yield name, key, metric(hits, drawn[:, None], answers)
