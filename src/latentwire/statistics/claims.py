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
ONE_TRAINING = "one training"
"""Reason and verdict of what is said of trainings, where there is one: it is in a family, but no test of it."""
POWER = 0.8
"""Chance with which a detectable effect is found."""
QUANTILES = 2000
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
    return Retention(retained, ratio, *decide_noninferiority(contrast, alpha, (-retained, 1.0)))


def decide_noninferiority(contrast: Estimate, alpha: float, ends: tuple[float, float]) -> tuple[float | None, Outcome]:
    """Is the mean of A − retained·B above 0 (non-inferior), below (inferior), or neither shown? With p for above.

    Args:
        contrast: The mean, of values between `ends`.
        alpha: Level of either side.
        ends: Smallest and largest value that an example can have.
    """
    above, below = p_above_and_below(contrast, 0.0, ends)
    if above < alpha:
        return above, "non-inferior"
    return above, "inferior" if below < alpha else "inconclusive"


def p_above_and_below(mean: Estimate, null: float, ends: tuple[float, float]) -> tuple[float, float]:
    """One-sided p for the true mean above `null`, and for below.

    Where all N examples have one value c, no variance can be estimated, and that alone shows nothing. If the mean were
    `null` or less, at most a share q of the population could have the value c > null: the others have the smallest
    one, q·c + (1 − q)·low = null. All of a sample have it with probability q^N at most, which is the p (for c = 0 and
    a margin it is that of Clopper and Pearson's limit for no event in N).
    """
    above = mean.p_above(null)
    if above is not None:
        return above, 1 - above
    low, high = ends
    up = ((null - low) / (mean.mean - low)) ** mean.examples if mean.mean > null else 1.0
    down = ((high - null) / (high - mean.mean)) ** mean.examples if mean.mean < null else 1.0
    return up, down


@dataclass(frozen=True)
class Tost:
    """Two one-sided tests: `p_low` against the mean at −margin or below, `p_high` at +margin or above."""

    margin: float
    p_low: float
    p_high: float
    outcome: Equivalence


def decide_equivalence(difference: Estimate, margin: float, alpha: float) -> Tost:
    """Is the mean difference inside ±margin? Equivalent means: its (1 − 2·alpha) interval lies inside."""
    above, under = p_above_and_below(difference, -margin, (-1.0, 1.0))
    over, below = p_above_and_below(difference, margin, (-1.0, 1.0))
    if max(above, below) < alpha:
        return Tost(margin, above, below, "equivalent")
    outside = over < alpha or under < alpha
    return Tost(margin, above, below, "different" if outside else "inconclusive")


def minimum_detectable(error: float, df: float, alpha: float, power: float = POWER) -> float:
    """Smallest true difference that a two-sided t test at level `alpha` finds with the given power.

    The estimated `error` varies as χ² of `df` degrees of freedom does: the power is that of the noncentral t, averaged
    over quantiles of the estimate, since few degrees of freedom make its tail too long to integrate.
    """
    critical = float(stats.t.ppf(1 - alpha / 2, df))
    spreads = np.sqrt(stats.chi2.ppf((np.arange(QUANTILES) + 0.5) / QUANTILES, df) / df)

    def lacking(shift: float) -> float:
        return float(stats.norm.cdf(shift - critical * spreads).mean()) - power

    return error * float(optimize.brentq(lacking, 0.0, critical * float(spreads[-1]) + 10.0, xtol=1e-13))


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
