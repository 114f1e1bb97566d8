"""Exact tests and intervals on counts, and the sign-flip permutation test over examples."""

from __future__ import annotations

import math

import numpy as np
from scipy import stats

from latentwire.errors import EvidenceError
from latentwire.statistics.scores import Matrix
from latentwire.statistics.twoway import Estimate

SMALLEST_SIGN_TEST = 6
"""With fewer values no two-sided sign test can reach p < 0.05: its smallest p is 2 / 2**n."""


def count_discordant(a: Matrix, b: Matrix) -> tuple[int, int]:
    """Examples that only A got right and that only B got right, of two [1, N] rows of zeros and ones.

    Raises:
        EvidenceError: There is more than one seed: McNemar's test takes examples as the only source of variation.
    """
    if a.shape != b.shape or a.shape[0] != 1:
        raise EvidenceError(
            f"McNemar's test was given scores of shapes {a.shape} and {b.shape}, expected one seed each over the same "
            "examples; pooled seeds reject a true null in 20 % of the cases. Next: use the two-way test."
        )
    return int(((a == 1) & (b == 0)).sum()), int(((a == 0) & (b == 1)).sum())


def mcnemar_p(only_a: int, only_b: int, mid: bool = False) -> float:
    """Exact two-sided p of McNemar's test, or its mid-p; 1 where no example is discordant."""
    total = only_a + only_b
    if total == 0:
        return 1.0
    p = float(stats.binomtest(only_a, total).pvalue)
    return p - float(stats.binom.pmf(only_a, total, 0.5)) if mid else p


def sign_flip_p(differences: Matrix, resamples: int, seed: int) -> float:
    """Two-sided p of the sign-flip test over examples of an [S, N] difference, for the checkpoints at hand.

    The seeds are averaged first: a flip exchanges A and B on an example in all seeds. With at most `resamples`
    patterns of signs all are enumerated, otherwise p = (count + 1) / (resamples + 1).

    Raises:
        EvidenceError: There are fewer than six examples.
    """
    means = differences.mean(axis=0)
    check_enough_values(len(means), "examples")
    observed = abs(means.sum()) * (1 - 1e-12)
    if 2 ** len(means) <= resamples:
        return float((abs(all_sign_patterns(len(means)) @ means) >= observed).mean())
    rng = np.random.default_rng(seed)
    count = 0
    for start in range(0, resamples, 500):
        signs = rng.integers(0, 2, size=(min(500, resamples - start), len(means)), dtype=np.int8) * 2 - 1
        count += int((abs(signs @ means) >= observed).sum())
    return (count + 1) / (resamples + 1)


def all_sign_patterns(count: int) -> Matrix:
    """Every pattern [2**count, count] of signs, as 1 and −1."""
    patterns = np.arange(2**count)[:, None] >> np.arange(count)
    return np.where(patterns & 1, 1.0, -1.0)


def check_enough_values(count: int, what: str) -> None:
    """Check that a sign or rank test over this number of values can reach p < 0.05 at all.

    Raises:
        EvidenceError: `count` is below six.
    """
    if count < SMALLEST_SIGN_TEST:
        raise EvidenceError(
            f"A sign or rank test was asked for over {count} {what}, expected at least {SMALLEST_SIGN_TEST}: its "
            f"smallest two-sided p would be {2 / 2**count:.4g}. Next: use the two-way test, which takes every example."
        )


def wilson_interval(successes: float, trials: float, confidence: float, df: float = math.inf) -> tuple[float, float]:
    """Wilson's score interval of a proportion; effective counts need not be whole numbers.

    With `df` degrees of freedom of the variance behind `trials`, its quantile is Student's.
    """
    z2 = float(stats.t.ppf(0.5 + confidence / 2, df)) ** 2
    rate = successes / trials
    centre = (rate + z2 / (2 * trials)) / (1 + z2 / trials)
    half = (z2 * (rate * (1 - rate) / trials + z2 / (4 * trials**2))) ** 0.5 / (1 + z2 / trials)
    return max(centre - half, 0.0), min(centre + half, 1.0)


def newcombe_interval(
    right_a: int, n_a: int, right_b: int, n_b: int, confidence: float, phi: float = 0.0
) -> tuple[float, float]:
    """Newcombe's interval of a difference of two proportions from their Wilson limits; `phi` is their correlation."""
    rate_a, rate_b = right_a / n_a, right_b / n_b
    low_a, high_a = wilson_interval(right_a, n_a, confidence)
    low_b, high_b = wilson_interval(right_b, n_b, confidence)
    down = _newcombe_half_width(rate_a - low_a, high_b - rate_b, phi)
    up = _newcombe_half_width(high_a - rate_a, rate_b - low_b, phi)
    return rate_a - rate_b - down, rate_a - rate_b + up


def paired_newcombe_interval(
    both: int, only_a: int, only_b: int, neither: int, confidence: float
) -> tuple[float, float]:
    """Newcombe's interval (his method 10) of the difference of two proportions on the same examples."""
    total = both + only_a + only_b + neither
    apart = both * neither - only_a * only_b
    margins = (both + only_a) * (only_b + neither) * (both + only_b) * (only_a + neither)
    # A positive association is shrunk by N / 2, as Yates would, so that a few examples do not narrow the interval.
    phi = (max(apart - total / 2, 0.0) if apart > 0 else apart) / margins**0.5 if margins else 0.0
    return newcombe_interval(both + only_a, total, both + only_b, total, confidence, phi)


def _newcombe_half_width(side_a: float, side_b: float, phi: float) -> float:
    return float(max(side_a**2 - 2 * phi * side_a * side_b + side_b**2, 0.0) ** 0.5)


def proportion_interval(rate: Estimate, confidence: float) -> tuple[float, float]:
    """Wilson's interval of an accuracy, from the two-way variance and with its degrees of freedom.

    Its number of trials is the effective one, rate (1 − rate) / variance; where all answers are right or all are wrong,
    the number of examples. Near the ends of the scale the symmetric interval covers too little; the logit scale covers
    as much as this one and is wider (`tests/unit/statistics/test_interval_simulations.py`).
    """
    trials = rate.examples if rate.constant else rate.mean * (1 - rate.mean) / rate.variance
    return wilson_interval(rate.mean * trials, trials, confidence, rate.df)
