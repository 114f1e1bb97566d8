"""Fieller's interval of a ratio of two means: all ratios r for which A − r·B is not told from 0."""

from __future__ import annotations

from collections.abc import Callable

from scipy import optimize, stats

from latentwire.statistics.scores import Scores, pair
from latentwire.statistics.twoway import estimate

FARTHEST = 64.0
"""How far from the ratio an end is looked for, in units of 1 + |ratio|."""


def fieller(a: Scores, b: Scores, confidence: float) -> tuple[float, float] | None:
    """Interval of mean(A) / mean(B) by inverting the two-way test; None where it has no end, or nothing varies."""
    denominator = float(b.values.mean())
    if denominator == 0.0:
        return None
    ratio = float(a.values.mean()) / denominator
    if estimate(pair(a, b, ratio)).constant:
        return None

    def excess(r: float) -> float:
        found = estimate(pair(a, b, r))
        return abs(found.mean) - float(stats.t.ppf(0.5 + confidence / 2, found.df)) * found.error

    low, high = _end(excess, ratio, -1.0), _end(excess, ratio, 1.0)
    return None if low is None or high is None else (low, high)


def _end(excess: Callable[[float], float], ratio: float, side: float) -> float | None:
    """Where the test begins to reject, going from `ratio` to one side; None where it never does."""
    inner, step = ratio, 2.0**-6 * (1 + abs(ratio))
    while step <= FARTHEST * (1 + abs(ratio)):
        outer = ratio + side * step
        if excess(outer) > 0:
            return float(optimize.brentq(excess, inner, outer, xtol=1e-13))
        inner, step = outer, 2 * step
    return None
