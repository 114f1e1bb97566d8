"""Methods over many data sets: Friedman's test, Holm-adjusted Wilcoxon tests and the critical difference.

Shapes: `table` is [data sets, methods]; rank 1 is the highest score.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy import stats

from latentwire.errors import EvidenceError
from latentwire.statistics.exact import SMALLEST_SIGN_TEST, all_sign_patterns
from latentwire.statistics.multiplicity import holm_adjust
from latentwire.statistics.scores import Matrix

ENUMERATED = 15
"""Differences other than 0 up to which Wilcoxon's test takes every pattern of signs."""


@dataclass(frozen=True)
class FriedmanTest:
    """Mean `ranks` of the methods; `statistic` and `p` are corrected for ties."""

    ranks: tuple[float, ...]
    statistic: float
    p: float


def explain_missing_ranks(count: int) -> str | None:
    """Why ranks over so few data sets are not compared; None from six on."""
    if count >= SMALLEST_SIGN_TEST:
        return None
    return (
        f"Ranks over {count} data sets were asked for, expected at least {SMALLEST_SIGN_TEST}: "
        f"the smallest two-sided p of Wilcoxon's test would be {2 / 2**count:.4g}. "
        "Next: read the differences by data set, or add tasks to prepare.tasks."
    )


def friedman_test(table: Matrix) -> FriedmanTest:
    """Do the methods differ in rank over the data sets?

    Raises:
        EvidenceError: There are fewer than six data sets or three methods.
    """
    _check_enough_data_sets(table)
    methods = table.shape[1]
    if methods < 3:
        raise EvidenceError(
            f"Friedman's test was given {methods} methods, expected at least 3. Next: use Wilcoxon's test."
        )
    test = stats.friedmanchisquare(*table.T)
    return FriedmanTest(tuple(map(float, _mean_ranks(table))), float(test.statistic), float(test.pvalue))


def wilcoxon_p(differences: Matrix) -> float:
    """Two-sided p of the signed-rank test over data sets, zeros left out; exact up to 15 differences.

    Raises:
        EvidenceError: There are fewer than six data sets.
    """
    _check_enough_data_sets(differences[:, None])
    present = differences[differences != 0]
    if len(present) == 0:
        return 1.0
    ranks = stats.rankdata(abs(present))
    if len(present) > ENUMERATED:
        return float(stats.wilcoxon(present, method="approx", correction=True).pvalue)
    observed = abs(float(np.sign(present) @ ranks)) - 1e-9
    return float((abs(all_sign_patterns(len(present)) @ ranks) >= observed).mean())


def pairwise_wilcoxon(table: Matrix) -> dict[tuple[int, int], tuple[float, float]]:
    """Raw and Holm-adjusted p of every pair of methods."""
    pairs = list(combinations(range(table.shape[1]), 2))
    raw = [wilcoxon_p(table[:, i] - table[:, j]) for i, j in pairs]
    corrected = [1.0 if p is None else p for p in holm_adjust(raw)]
    return dict(zip(pairs, zip(raw, corrected, strict=True), strict=True))


def critical_difference(methods: int, sets: int, alpha: float = 0.05) -> float:
    """Nemenyi's: mean ranks farther apart than this differ, over all pairs of methods.

    Raises:
        EvidenceError: There are fewer than six data sets.
    """
    _check_enough_data_sets(np.zeros((sets, methods)))
    return nemenyi_quantile(methods, alpha) * math.sqrt(methods * (methods + 1) / (6 * sets))


def nemenyi_quantile(methods: int, alpha: float = 0.05) -> float:
    """Quantile of the studentised range over √2."""
    return float(stats.studentized_range.ppf(1 - alpha, methods, np.inf)) / math.sqrt(2)


def _mean_ranks(table: Matrix) -> Matrix:
    return np.asarray(stats.rankdata(-table, axis=1).mean(axis=0))


def _check_enough_data_sets(table: Matrix) -> None:
    reason = explain_missing_ranks(len(table))
    if reason:
        raise EvidenceError(reason)
