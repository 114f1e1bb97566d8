"""The mean over tasks: seeds are shared by the tasks, examples are not.

Shapes: T tasks; per task a matrix [S, N_t]. Tasks are no sample: the mean is about these tasks alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from latentwire.errors import EvidenceError
from latentwire.statistics.scores import Paired
from latentwire.statistics.twoway import Estimate, MeanSquares, class_degrees, estimate_mean, mean_squares

Term = tuple[float, float]
"""A share of the variance of the mean, and its degrees of freedom."""


def estimate_mean_over_tasks(parts: Sequence[Paired]) -> Estimate:
    """Unweighted mean over tasks of the means of their matrices; for one task the same as `estimate_mean`.

    A seed may be good on all tasks at once, so its rows are averaged over the tasks before their spread is taken.
    Where a metric is no mean over examples, its task has the variance of its draws, not that of its linear parts.

    Raises:
        EvidenceError: The tasks have different numbers of seeds, or methods whose seeds do not correspond.
    """
    _check_same_seeds(parts)
    matrices = [part.values for part in parts]
    seeds, examples = len(matrices[0]), sum(matrix.shape[1] for matrix in matrices)
    mean = float(np.mean([matrix.mean() for matrix in matrices]))
    if all(np.ptp(matrix) == 0.0 for matrix in matrices):
        return Estimate(mean, 0.0, math.inf, seeds, examples, None)
    if seeds == 1:
        by_task = [estimate_mean(part) for part in parts]
        terms = [(task.variance / len(parts) ** 2, min(task.df, task.examples - 1)) for task in by_task]
        variance = sum(term for term, _ in terms)
        return Estimate(mean, variance, _satterthwaite(variance, terms), seeds, examples, None)
    return _crossed(parts, mean, examples)


def _crossed(parts: Sequence[Paired], mean: float, examples: int) -> Estimate:
    matrices = [part.values for part in parts]
    seeds, tasks = len(matrices[0]), len(matrices)
    by_seed = np.mean([matrix.mean(axis=1) for matrix in matrices], axis=0)
    rows: Term = (float(by_seed.var(ddof=1)) / seeds, seeds - 1)
    by_task = [(mean_squares(part.values), *_beyond_linear(part)) for part in parts]
    columns = [(more * task.columns / _size(task, tasks), min(task.degrees[1], df)) for task, more, df in by_task]
    residuals = [(more * task.residual / _size(task, tasks), task.degrees[2]) for task, more, _ in by_task]
    column, residual = (sum(term for term, _ in terms) for terms in (columns, residuals))
    variance = max(rows[0] + column - residual, rows[0], column)
    df = max(_satterthwaite(variance, [rows, *columns, *residuals]), seeds - 1)
    shares = MeanSquares(rows[0], column, residual, seeds, examples).shares()
    return Estimate(mean, variance, df, seeds, examples, shares)


def _beyond_linear(part: Paired) -> tuple[float, float]:
    """How many times the variance of a task is that of its linear parts, and the degrees of freedom of its classes."""
    linear = estimate_mean(part.values).variance
    if part.resampled is None or linear == 0:
        return 1.0, math.inf
    return estimate_mean(part).variance / linear, class_degrees(part.values, part.resampled.classes)


def _size(squares: MeanSquares, tasks: int) -> int:
    return squares.seeds * squares.examples * tasks**2


def _satterthwaite(variance: float, terms: Sequence[Term]) -> float:
    return variance**2 / sum(term**2 / degrees for term, degrees in terms)


def _check_same_seeds(parts: Sequence[Paired]) -> None:
    counts = sorted({len(part.values) for part in parts})
    if len(counts) != 1 or any(part.subtrahend is not None for part in parts):
        raise EvidenceError(
            f"A mean over {len(parts)} tasks was asked for of {counts} seeds, expected the same seeds on every "
            "task and in both methods: a seed is averaged over the tasks first. Next: `dvc repro`."
        )
