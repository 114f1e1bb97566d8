"""Published values of what scipy and statsmodels compute: our oracles, pinned to the digits of papers and of R."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from statsmodels.regression.linear_model import OLS
from statsmodels.stats.contingency_tables import mcnemar as chi_square
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestIndPower, TTestPower
from statsmodels.stats.sandwich_covariance import cov_cluster, cov_cluster_2groups

from latentwire.statistics.bootstrap import _by_weights, percentile_interval
from tests.support.published_samples import BENJAMINI_HOCHBERG, DARWIN

LSAT = np.array([576, 635, 558, 578, 666, 580, 555, 661, 651, 605, 653, 575, 545, 572, 594], dtype=float)
GPA = np.array([3.39, 3.30, 2.81, 3.03, 3.44, 3.07, 3.00, 3.43, 3.36, 3.13, 3.12, 2.74, 2.76, 2.88, 2.96])
"""Fifteen law schools (Efron & Tibshirani, table 3.1)."""
SPATIAL = np.array(
    [*(48, 36, 20, 29, 42, 42, 20, 42, 22, 41, 45, 14, 6), *(0, 33, 28, 34, 4, 32, 24, 47, 41, 24, 26, 30, 41)],
    dtype=float,
)
"""Spatial test A of 26 children (Efron & Tibshirani, table 14.1)."""
TREATED = np.array([94.0, 197, 16, 38, 99, 141, 23])
CONTROL = np.array([52.0, 104, 146, 10, 51, 30, 40, 27, 46])
"""Survival of mice in days (Efron & Tibshirani, table 2.1)."""


@pytest.mark.parametrize(
    ("only_a", "only_b", "plain", "corrected"),
    [
        (86, 150, (17.3559, 3.0993e-5), (16.8178, 4.1146e-5)),
        (121, 59, (21.3556, 3.8151e-6), (20.6722, 5.4501e-6)),
        (6, 16, (4.5455, 0.033006), (3.6818, 0.055009)),
        (25, 15, (2.5, 0.113846), (2.025, 0.154729)),
        (11, 1, (8.3333, 0.0038924), (6.75, 0.0093747)),
    ],
)
def test_mcnemar_as_chi_square(
    only_a: int, only_b: int, plain: tuple[float, float], corrected: tuple[float, float]
) -> None:
    for correction, expected in ((False, plain), (True, corrected)):
        found = chi_square([[0, only_a], [only_b, 0]], exact=False, correction=correction)
        assert (found.statistic, found.pvalue) == pytest.approx(expected, rel=2e-5)


@pytest.mark.parametrize(
    ("method", "position", "expected"),
    [("holm", 3, 0.114), ("hommel", 3, 0.095), ("fdr_bh", 3, 0.035625), ("fdr_by", 2, 0.0315232)],
)
def test_corrections_of_the_fifteen(method: str, position: int, expected: float) -> None:
    assert multipletests(BENJAMINI_HOCHBERG, method=method)[1][position] == pytest.approx(expected, abs=5e-8)


@pytest.mark.parametrize(("method", "rejected"), [("bonferroni", 3), ("holm", 3), ("fdr_bh", 4)])
def test_rejections_of_the_fifteen(method: str, rejected: int) -> None:
    assert multipletests(BENJAMINI_HOCHBERG, method=method)[0].sum() == rejected


def test_hochberg_by_hand() -> None:
    found = multipletests([0.01, 0.04, 0.03, 0.005], method="simes-hochberg")[1]
    assert found == pytest.approx([0.03, 0.04, 0.04, 0.02])


def test_clopper_pearson_of_none_in_twenty() -> None:
    high = stats.binomtest(0, 20).proportion_ci(0.95, method="exact").high
    assert high == pytest.approx(0.1684335, abs=5e-8)
    assert high == pytest.approx(1 - 0.025 ** (1 / 20))


def test_darwins_maize_one_sided() -> None:
    found = stats.permutation_test(
        (DARWIN[0],), np.mean, permutation_type="samples", n_resamples=np.inf, alternative="greater"
    )
    assert found.pvalue == pytest.approx(863 / 32768)


def test_the_law_schools() -> None:
    """Our example weights on a correlation, which is a ratio of weighted moments; BCa is scipy's."""
    moments = np.stack([LSAT, GPA, LSAT * GPA, LSAT**2, GPA**2], axis=1)
    x, y, xy, xx, yy = _by_weights(moments, 20_000, np.random.default_rng(1)).T
    draws = (xy - x * y) / np.sqrt((xx - x**2) * (yy - y**2))
    assert np.corrcoef(LSAT, GPA)[0, 1] == pytest.approx(0.776374, abs=5e-7)
    assert draws.std() == pytest.approx(0.134, abs=0.005)
    assert percentile_interval(draws, 0.95) == pytest.approx((0.458, 0.962), abs=0.012)
    oracle = stats.bootstrap(
        (LSAT, GPA), lambda x, y: stats.pearsonr(x, y)[0], paired=True, vectorized=False, n_resamples=4000, rng=2
    )
    assert tuple(oracle.confidence_interval) == pytest.approx((0.324, 0.942), abs=0.03)


def test_the_spatial_data() -> None:
    """The biased variance of test A and its 90 % intervals."""
    assert SPATIAL.var() == pytest.approx(171.534, abs=5e-4)
    mean, square = _by_weights(np.stack([SPATIAL, SPATIAL**2], axis=1), 20_000, np.random.default_rng(3)).T
    assert percentile_interval(square - mean**2, 0.90) == pytest.approx((98, 235.5), abs=4)
    oracle = stats.bootstrap((SPATIAL,), np.var, confidence_level=0.9, n_resamples=20_000, batch=500, rng=4)
    assert tuple(oracle.confidence_interval) == pytest.approx((115.4, 260.5), abs=4)


def test_the_mice() -> None:
    assert TREATED.mean() - CONTROL.mean() == pytest.approx(30.635, abs=5e-4)
    found = stats.permutation_test(
        (TREATED, CONTROL), lambda a, b, axis: a.mean(axis=axis) - b.mean(axis=axis), n_resamples=np.inf,
        alternative="greater", batch=2000,
    )  # fmt: skip
    assert found.pvalue == pytest.approx(1613 / 11440)


def test_planned_sample_sizes() -> None:
    assert TTestPower().solve_power(0.5, alpha=0.05, power=0.8) == pytest.approx(33.367, abs=5e-4)
    assert TTestIndPower().solve_power(0.5, alpha=0.05, power=0.8) == pytest.approx(63.766, abs=5e-4)


@pytest.mark.parametrize(("seeds", "effect"), [(3, 3.26), (5, 1.68), (10, 1.00)])
def test_seeds_alone_find_only_large_effects(seeds: int, effect: float) -> None:
    assert TTestPower().solve_power(nobs=seeds, alpha=0.05, power=0.8) == pytest.approx(effect, abs=6e-3)


@pytest.mark.parametrize(("seeds", "smallest"), [(3, 0.25), (4, 0.125), (5, 0.0625), (6, 0.03125)])
def test_the_smallest_p_of_few_seeds(seeds: int, smallest: float) -> None:
    assert stats.wilcoxon(np.arange(1.0, seeds + 1)).pvalue == smallest


def test_errors_by_cluster() -> None:
    i = np.arange(1, 201)
    group = np.ceil(i / 5).astype(int)
    fit = OLS(np.sin(group) + 0.5 * np.cos(i), np.ones(200)).fit()
    assert np.sqrt(cov_cluster(fit, group, use_correction=False)[0, 0] * 40 / 39 * 199 / 199) == pytest.approx(
        0.1161699, abs=5e-7
    )
    assert fit.HC0_se[0] == pytest.approx(0.0566880, abs=5e-7)
    both = cov_cluster_2groups(fit, group, i % 5, use_correction=False)[0]
    assert np.sqrt(both[0, 0]) == pytest.approx(0.0997586, abs=5e-7)
