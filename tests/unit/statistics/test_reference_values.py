"""Published values, to the digits in which they are published."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from latentwire.statistics.claims import decide_equivalence
from latentwire.statistics.exact import mcnemar_p, sign_flip_p, wilson_interval
from latentwire.statistics.multiplicity import benjamini_hochberg, holm_adjust
from latentwire.statistics.twoway import estimate_mean, mean_squares
from tests.support.published_samples import BENJAMINI_HOCHBERG, DARWIN

SLEEP = np.array([[0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]]) - np.array(
    [[1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]]
)
"""Student's sleep data: hours gained with one drug less those with the other."""


@pytest.mark.parametrize(
    ("only_a", "only_b", "expected"),
    [
        (86, 150, 3.7159e-5),  # Agresti, approval of the prime minister
        (121, 59, 4.4344e-6),  # statsmodels' own example
        (6, 16, 0.0524788),
        (25, 15, 0.15386),  # mlxtend's manual
        (11, 1, 2 * 13 / 2**12),
        (0, 0, 1.0),
    ],
)
def test_mcnemar_exact(only_a: int, only_b: int, expected: float) -> None:
    assert mcnemar_p(only_a, only_b) == pytest.approx(expected, rel=2e-5)
    assert mcnemar_p(only_b, only_a) == mcnemar_p(only_a, only_b)


def test_mcnemar_mid_p() -> None:
    assert mcnemar_p(6, 16, mid=True) == pytest.approx(0.0346897, abs=5e-8)


def test_one_row_is_the_paired_t_test_of_the_sleep_data() -> None:
    found = estimate_mean(SLEEP)
    assert found.mean / found.error == pytest.approx(-4.062128, abs=5e-7)
    assert found.p_value() == pytest.approx(0.00283289, abs=5e-9)
    assert found.interval(0.95) == pytest.approx((-2.459886, -0.700114), abs=5e-7)
    assert SLEEP.mean() / SLEEP.std(ddof=1) == pytest.approx(-1.284558, abs=5e-7)


def test_sign_flip_enumerates_small_data() -> None:
    assert sign_flip_p(SLEEP, resamples=2**10, seed=0) == 4 / 1024
    assert sign_flip_p(DARWIN, resamples=2**15, seed=0) == 1726 / 32768


def test_darwin_by_t() -> None:
    found = estimate_mean(DARWIN)
    assert found.mean / found.error == pytest.approx(2.147987, abs=5e-7)
    assert found.p_value() == pytest.approx(0.0497029, abs=5e-8)


def test_benjamini_and_hochbergs_own_fifteen() -> None:
    step_up, step_down = benjamini_hochberg(BENJAMINI_HOCHBERG), holm_adjust(BENJAMINI_HOCHBERG)
    assert sum(p <= 0.05 for p in step_up if p is not None) == 4
    assert sum(p <= 0.05 for p in step_down if p is not None) == 3
    assert step_up[3] == pytest.approx(0.035625)
    assert step_down[3] == pytest.approx(0.114)


def test_holm_and_bh_by_hand() -> None:
    p_values = [0.01, 0.04, 0.03, 0.005]
    assert holm_adjust(p_values) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert benjamini_hochberg(p_values) == pytest.approx([0.02, 0.04, 0.04, 0.02])


@pytest.mark.parametrize("missing", [None, float("nan")])
def test_a_missing_p_is_no_hypothesis(missing: float | None) -> None:
    assert holm_adjust([0.01, missing, 0.03]) == [pytest.approx(0.02), None, pytest.approx(0.03)]
    assert benjamini_hochberg([0.01, missing, 0.03]) == [pytest.approx(0.02), None, pytest.approx(0.03)]


@pytest.mark.parametrize(
    ("successes", "trials", "expected"), [(81, 263, (0.25529, 0.36621)), (15, 148, (0.06239, 0.16049))]
)
def test_wilson(successes: int, trials: int, expected: tuple[float, float]) -> None:
    assert wilson_interval(successes, trials, 0.95) == pytest.approx(expected, abs=5e-6)


def test_tost_of_the_sleep_data() -> None:
    found = decide_equivalence(estimate_mean(SLEEP), margin=3.0, alpha=0.05)
    assert found.p_low == pytest.approx(0.00265557, abs=5e-9)
    assert found.p_high == pytest.approx(4.5227e-7, rel=2e-5)
    assert found.outcome == "equivalent"
    assert estimate_mean(SLEEP).interval(0.90) == pytest.approx((-2.29301, -0.86699), abs=5e-6)


def test_mean_squares_of_the_crossed_layout() -> None:
    i = np.arange(1, 201)
    group = np.ceil(i / 5)
    values = (np.sin(group) + 0.5 * np.cos(i)).reshape(40, 5)
    found = mean_squares(values)
    assert (found.rows, found.columns, found.residual) == pytest.approx((2.699091, 0.00181201, 0.14916399), rel=5e-7)


def test_wald_undercovers_where_wilson_does_not() -> None:
    count, rate = 100, 0.98
    right = np.arange(count + 1)
    weight = stats.binom.pmf(right, count, rate)
    z = stats.norm.ppf(0.975)
    half = z * np.sqrt(right / count * (1 - right / count) / count)
    wald = weight[(right / count - half <= rate) & (rate <= right / count + half)].sum()
    limits = [wilson_interval(k, count, 0.95) for k in right]
    covered = weight[[low <= rate <= high for low, high in limits]].sum()
    assert wald == pytest.approx(0.866, abs=5e-4)
    assert covered == pytest.approx(0.949, abs=5e-4)
