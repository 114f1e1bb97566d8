"""The two-way (seeds × examples) random-effects interval and test, with Satterthwaite's degrees of freedom.

For scores D [S, N] with row effects (seeds), column effects (examples) and a residual, the variance of the
grand mean is a linear combination of mean squares. With one row it is that of a mean over examples.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

from latentwire.errors import EvidenceError
from latentwire.statistics.scores import Matrix, Paired, Resampled


@dataclass(frozen=True)
class Estimate:
    """A mean with its variance; the `shares` of seeds, examples and residual need at least two seeds."""

    mean: float
    variance: float
    df: float
    seeds: int
    examples: int
    shares: Mapping[str, float] | None

    @property
    def constant(self) -> bool:
        """All scores are equal, so that no variance can be estimated."""
        return self.variance == 0.0

    @property
    def error(self) -> float:
        """Standard error of the mean."""
        return math.sqrt(self.variance)

    def interval(self, confidence: float) -> tuple[float, float] | None:
        """Two-sided interval; None where the scores are constant."""
        if self.constant:
            return None
        half = float(stats.t.ppf(0.5 + confidence / 2, self.df)) * self.error
        return self.mean - half, self.mean + half

    def p_value(self, null: float = 0.0) -> float | None:
        """Two-sided p against `null`; None where the scores are constant."""
        if self.constant:
            return None
        return float(2 * stats.t.sf(abs(self.mean - null) / self.error, self.df))

    def p_above(self, null: float = 0.0) -> float | None:
        """One-sided p for a mean above `null`; None where the scores are constant."""
        return None if self.constant else float(stats.t.sf((self.mean - null) / self.error, self.df))


@dataclass(frozen=True)
class MeanSquares:
    """Mean squares of rows (seeds), columns (examples) and residual, of an [S, N] matrix."""

    rows: float
    columns: float
    residual: float
    seeds: int
    examples: int

    @property
    def degrees(self) -> tuple[int, int, int]:
        return self.seeds - 1, self.examples - 1, (self.seeds - 1) * (self.examples - 1)

    def shares(self) -> dict[str, float]:
        """Shares of the variance of the grand mean; components below 0 count as 0."""
        seeds = max(self.rows - self.residual, 0.0)
        examples = max(self.columns - self.residual, 0.0)
        total = seeds + examples + self.residual
        parts = {"seeds": seeds, "examples": examples, "residual": self.residual}
        return {name: part / total for name, part in parts.items()}


def estimate_mean(paired: Paired | Matrix) -> Estimate:
    """Mean of an [S, N] matrix, over the population of seeds and examples (of examples alone when S is 1).

    A metric that is no mean has the variance of its draws; its linear part gives the degrees of freedom and shares.

    Raises:
        EvidenceError: There are fewer than two examples.
    """
    if isinstance(paired, Paired):
        linear = _estimate(paired.values, paired.subtrahend)
        return linear if paired.resampled is None else _resampled(linear, paired.values, paired.resampled)
    return _estimate(paired, None)


def _estimate(values: Matrix, subtrahend: Matrix | None) -> Estimate:
    seeds, examples = _shape(values)
    if subtrahend is None and np.ptp(values) == 0.0:
        return Estimate(float(values[0, 0]), 0.0, math.inf, seeds, examples, None)
    if seeds == 1:
        variance = float(values.var(ddof=1)) / examples
        return Estimate(float(values.mean()), variance, examples - 1, seeds, examples, None)
    return _crossed(values, subtrahend)


def _resampled(linear: Estimate, values: Matrix, resampled: Resampled) -> Estimate:
    """The estimate with the variance of the draws; few examples of a class leave it few degrees of freedom."""
    df = min(linear.df, class_degrees(values, resampled.classes), linear.examples - 1)
    return replace(linear, variance=float(resampled.draws.var(ddof=1)), df=max(df, 1.0))


def class_degrees(values: Matrix, classes: Matrix) -> float:
    """Satterthwaite's degrees of freedom of a sum over classes, each estimated from its own examples alone.

    A class of n examples adds n times the variance within it, with n − 1 degrees; infinite where nothing varies.
    """
    means = values.mean(axis=0)
    groups = [means[classes == number] for number in np.unique(classes)]
    terms = [(len(group) * float(group.var(ddof=1)), len(group) - 1) for group in groups if len(group) > 1]
    spread = sum(term**2 / degrees for term, degrees in terms)
    return sum(term for term, _ in terms) ** 2 / spread if spread else math.inf


def _shape(values: Matrix) -> tuple[int, int]:
    if values.ndim != 2 or values.shape[0] < 1 or values.shape[1] < 2:
        raise EvidenceError(
            f"Scores of shape {values.shape} were given, expected at least 1 seed × 2 examples. "
            "Next: raise prepare.limits.test."
        )
    return values.shape[0], values.shape[1]


def mean_squares(values: Matrix) -> MeanSquares:
    """Mean squares of an [S, N] matrix, S and N at least 2."""
    seeds, examples = values.shape
    mean = values.mean()
    rows, columns = values.mean(axis=1, keepdims=True), values.mean(axis=0, keepdims=True)
    residual = values - rows - columns + mean
    return MeanSquares(
        rows=examples * float(((rows - mean) ** 2).sum()) / (seeds - 1),
        columns=seeds * float(((columns - mean) ** 2).sum()) / (examples - 1),
        residual=float((residual**2).sum()) / ((seeds - 1) * (examples - 1)),
        seeds=seeds,
        examples=examples,
    )


def _crossed(values: Matrix, subtrahend: Matrix | None) -> Estimate:
    own = mean_squares(values)
    size = values.size
    terms = [(own.rows / size, own.degrees[0]), (own.columns / size, own.degrees[1])]
    variance = max(own.rows + own.columns - own.residual, own.rows, own.columns) / size
    terms.append((own.residual / size, own.degrees[2]))
    least = own.degrees[0]
    if subtrahend is not None:
        extra, extra_terms = _seed_variance(subtrahend)
        variance += extra
        terms += extra_terms
        least = min(least, len(subtrahend) - 1)
    df = variance**2 / sum(term**2 / degrees for term, degrees in terms)
    return Estimate(float(values.mean()), variance, max(df, least), own.seeds, own.examples, own.shares())


def _seed_variance(subtrahend: Matrix) -> tuple[float, list[tuple[float, int]]]:
    """Variance that unpaired seeds of B add to the mean difference; A − mean(B) has its residual already."""
    other = mean_squares(subtrahend)
    size = subtrahend.size
    extra = max(other.rows - other.residual, 0.0) / size
    return extra, [(other.rows / size, other.degrees[0]), (other.residual / size, other.degrees[2])]
