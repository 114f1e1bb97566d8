"""Our formulas against those of scipy and statsmodels, on random input."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from statsmodels.regression.linear_model import OLS
from statsmodels.stats.contingency_tables import mcnemar as oracle_mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower
from statsmodels.stats.proportion import proportion_confint
from statsmodels.stats.weightstats import ttost_paired

from latentwire.statistics.claims import decide_equivalence, minimum_detectable
from latentwire.statistics.exact import count_discordant, mcnemar_p, sign_flip_p, wilson_interval
from latentwire.statistics.multiplicity import benjamini_hochberg, holm_adjust
from latentwire.statistics.twoway import estimate_mean, mean_squares


@pytest.mark.parametrize("stream", range(5))
def test_corrections(stream: int) -> None:
    p_values = np.random.default_rng(stream).uniform(size=12) ** 2
    assert holm_adjust(list(p_values)) == pytest.approx(multipletests(p_values, method="holm")[1])
    assert benjamini_hochberg(list(p_values)) == pytest.approx(multipletests(p_values, method="fdr_bh")[1])


@pytest.mark.parametrize("stream", range(5))
def test_mcnemar(stream: int) -> None:
    rng = np.random.default_rng(stream)
    a, b = rng.integers(0, 2, size=(2, 1, 90)).astype(float)
    only_a, only_b = count_discordant(a, b)
    table = [[0, only_a], [only_b, 0]]
    assert mcnemar_p(only_a, only_b) == pytest.approx(oracle_mcnemar(table, exact=True).pvalue)


def test_one_row_against_scipy_and_tost_against_statsmodels() -> None:
    a, b = np.random.default_rng(1).normal(size=(2, 40))
    found, oracle = estimate_mean((a - b)[None]), stats.ttest_rel(a, b)
    assert found.p_value() == pytest.approx(oracle.pvalue)
    assert found.interval(0.9) == pytest.approx(tuple(oracle.confidence_interval(0.9)))
    p, lower, upper = ttost_paired(a, b, -0.5, 0.5)
    ours = decide_equivalence(found, 0.5, 0.05)
    assert (ours.p_low, ours.p_high) == pytest.approx((lower[1], upper[1]))
    assert max(ours.p_low or 0, ours.p_high or 0) == pytest.approx(p)


@pytest.mark.parametrize("successes", [0, 3, 50, 97, 100])
def test_wilson(successes: int) -> None:
    assert wilson_interval(successes, 100, 0.9) == pytest.approx(
        proportion_confint(successes, 100, 0.1, method="wilson")
    )


def test_sign_flip_against_scipys_permutations() -> None:
    differences = np.random.default_rng(2).choice([-1.0, 0.0, 1.0], p=[0.2, 0.5, 0.3], size=(3, 200))
    means = differences.mean(axis=0)
    oracle = stats.permutation_test(
        (means, np.zeros_like(means)),
        lambda x, y: (x - y).mean(),
        permutation_type="samples",
        n_resamples=20_000,
        batch=200,
        rng=np.random.default_rng(3),
    )
    assert sign_flip_p(differences, 20_000, seed=3) == pytest.approx(oracle.pvalue, abs=0.01)


def test_the_sampled_sign_flip_never_claims_a_p_of_nought() -> None:
    assert sign_flip_p(np.ones((2, 60)), resamples=999, seed=0) == 1 / 1000


def test_mean_squares_against_least_squares() -> None:
    values = np.random.default_rng(4).normal(size=(4, 9)) + np.arange(4)[:, None]
    rows, columns = (axis.ravel() for axis in np.indices(values.shape))
    by_row, by_column = np.eye(4)[rows], np.eye(9)[columns][:, 1:]
    full = OLS(values.ravel(), np.hstack([by_row, by_column])).fit()
    without_rows = OLS(values.ravel(), np.hstack([np.ones((36, 1)), by_column])).fit()
    without_columns = OLS(values.ravel(), by_row).fit()
    found = mean_squares(values)
    assert found.residual == pytest.approx(full.mse_resid)
    assert found.rows == pytest.approx((without_rows.ssr - full.ssr) / 3)
    assert found.columns == pytest.approx((without_columns.ssr - full.ssr) / 8)


def test_the_smallest_detectable_difference_has_the_power_that_it_claims() -> None:
    values = np.random.default_rng(5).normal(size=(1, 400))
    deviation = float(values.std(ddof=1))
    effect = minimum_detectable(deviation / 20, df=399, alpha=0.05)
    power = TTestPower().power(effect / deviation, nobs=400, alpha=0.05)
    assert power == pytest.approx(0.8, abs=0.002)
