"""Claims with three outcomes, the smallest detectable effect, effect sizes by their names, and intervals of ratios."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import optimize, stats

from latentwire.statistics.exact import count_discordant
from latentwire.statistics.scores import Scores, pair_scores
from latentwire.statistics.twoway import Estimate, estimate_mean

Outcome = Literal["non-inferior", "inferior", "inconclusive"]
Equivalence = Literal["equivalent", "different", "inconclusive"]
NO_VARIANCE = "the scores do not vary"
FARTHEST = 64.0
"""How far from the ratio an end is looked for, in units of 1 + |ratio|."""


@dataclass(frozen=True)
class Retention:
    """Does A keep the share `retained` of B's mean? `ratio` is None where B's mean is 0."""

    retained: float
    ratio: float | None
    p: float | None
    outcome: Outcome


def decide_retention(a: Scores, b: Scores, retained: float, alpha: float) -> Retention:
    """One-sided test on the contrast A − retained·B, which needs no distribution of a ratio."""
    contrast = estimate_mean(pair_scores(a, b, retained))
    ratio = float(a.values.mean() / b.values.mean()) if b.values.mean() else None
    return Retention(retained, ratio, contrast.p_above(), decide_noninferiority(contrast, alpha))


def decide_noninferiority(contrast: Estimate, alpha: float) -> Outcome:
    """Is the mean of A − retained·B above 0 (non-inferior), below (inferior), or neither shown?"""
    above = contrast.p_above()
    if above is None:
        return "non-inferior" if contrast.mean >= 0 else "inferior"
    if above < alpha:
        return "non-inferior"
    return "inferior" if 1 - above < alpha else "inconclusive"


@dataclass(frozen=True)
class Tost:
    """Two one-sided tests: `p_low` against the mean at −margin or below, `p_high` at +margin or above."""

    margin: float
    p_low: float | None
    p_high: float | None
    outcome: Equivalence


def decide_equivalence(difference: Estimate, margin: float, alpha: float) -> Tost:
    """Is the mean difference inside ±margin? Equivalent means: its (1 − 2·alpha) interval lies inside."""
    above, from_top = difference.p_above(-margin), difference.p_above(margin)
    if above is None or from_top is None:
        return Tost(margin, None, None, "equivalent" if abs(difference.mean) < margin else "different")
    below = 1 - from_top
    if max(above, below) < alpha:
        return Tost(margin, above, below, "equivalent")
    outside = from_top < alpha or 1 - above < alpha
    return Tost(margin, above, below, "different" if outside else "inconclusive")


def minimum_detectable(difference: Estimate, alpha: float, power: float = 0.8) -> float | None:
    """Smallest true difference that this design finds with the given power; None where nothing varies."""
    if difference.constant:
        return None
    return float(stats.t.ppf(1 - alpha / 2, difference.df) + stats.t.ppf(power, difference.df)) * difference.error


def cohen_h(rate_a: float, rate_b: float) -> float:
    """Cohen's h: difference of two proportions on the arcsine scale."""
    return 2 * math.asin(math.sqrt(rate_a)) - 2 * math.asin(math.sqrt(rate_b))


def d_z(a: Scores, b: Scores) -> float | None:
    """Mean over standard deviation of the differences by example, seeds averaged; None without variance."""
    means = pair_scores(a, b).values.mean(axis=0)
    return None if np.ptp(means) == 0 else float(means.mean() / means.std(ddof=1))


def odds_ratio(a: Scores, b: Scores) -> float | None:
    """Discordant examples won by A over those won by B, of single runs; None where B won none."""
    if len(a.values) > 1 or len(b.values) > 1:
        return None
    only_a, only_b = count_discordant(a.values, b.values)
    return only_a / only_b if only_b else None


def fieller_interval(a: Scores, b: Scores, confidence: float) -> tuple[float, float] | None:
    """Fieller's interval of mean(A) / mean(B): all ratios r for which A − r·B is not told from 0 by the two-way test.

    None where it has no end, or nothing varies.
    """
    denominator = float(b.values.mean())
    if denominator == 0.0:
        return None
    ratio = float(a.values.mean()) / denominator
    if estimate_mean(pair_scores(a, b, ratio)).constant:
        return None

    def excess(r: float) -> float:
        contrast = estimate_mean(pair_scores(a, b, r))
        return abs(contrast.mean) - float(stats.t.ppf(0.5 + confidence / 2, contrast.df)) * contrast.error

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
