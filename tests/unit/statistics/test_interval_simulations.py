"""Simulated coverage of accuracies near the ceiling, with few seeds, and what the verdicts and claims promise."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from latentwire.statistics.claims import decide_equivalence, decide_retention, minimum_detectable
from latentwire.statistics.comparisons import comparison_verdict
from latentwire.statistics.exact import proportion_interval, wilson_interval
from latentwire.statistics.multiplicity import holm_adjust
from latentwire.statistics.scores import Matrix
from latentwire.statistics.twoway import Estimate, estimate_mean
from tests.support.scores import scores

pytestmark = pytest.mark.long

Interval = Callable[[Estimate], tuple[float, float]]
EXAMPLES = 500
CELLS = [
    (2, 0.96, 0.01),
    (2, 0.9, 0.01),
    (3, 0.96, 0.03),
    (3, 0.96, 0.01),
    (3, 0.985, 0.01),
    (1, 0.96, 0.0),
    (5, 0.9, 0.03),
]
"""Seeds, true accuracy, and standard deviation of the seeds' accuracies."""


def _answers(rng: np.random.Generator, seeds: int, rate: float, points: float) -> Matrix:
    """Right and wrong answers [S, N]: shared difficulty, and seeds whose accuracies differ by `points` near `rate`."""
    spread = points / stats.norm.pdf(stats.norm.ppf(rate)) * math.sqrt(2)
    ease = stats.norm.ppf(rate) * math.sqrt(2 + spread**2) + spread * rng.normal(size=(seeds, 1))
    skill = ease + rng.normal(size=(seeds, EXAMPLES))
    return np.asarray(skill > rng.normal(size=EXAMPLES), dtype=float)


def _coverage(seeds: int, rate: float, points: float, interval: Interval, runs: int) -> tuple[float, float]:
    """Share of intervals that cover the true accuracy, and their mean width."""
    rng = np.random.default_rng([seeds, round(1000 * rate), round(1000 * points)])
    ends = np.array([interval(estimate_mean(_answers(rng, seeds, rate, points))) for _ in range(runs)])
    return float(((ends[:, 0] <= rate) & (rate <= ends[:, 1])).mean()), float((ends[:, 1] - ends[:, 0]).mean())


def _printed(rate: Estimate) -> tuple[float, float]:
    return proportion_interval(rate, 0.95)


def _symmetric(rate: Estimate) -> tuple[float, float]:
    return rate.interval(0.95) or (rate.mean, rate.mean)


def _on_logit_scale(rate: Estimate) -> tuple[float, float]:
    if rate.constant:
        return proportion_interval(rate, 0.95)
    centre = math.log(rate.mean / (1 - rate.mean))
    half = float(stats.t.ppf(0.975, rate.df)) * rate.error / (rate.mean * (1 - rate.mean))
    low, high = (1 / (1 + math.exp(-end)) for end in (centre - half, centre + half))
    return low, high


def _without_degrees(rate: Estimate) -> tuple[float, float]:
    """As it was before: Wilson's, with the quantile of the normal distribution."""
    trials = rate.examples if rate.constant else rate.mean * (1 - rate.mean) / rate.variance
    return wilson_interval(rate.mean * trials, trials, 0.95)


@pytest.mark.parametrize(("seeds", "rate", "points"), CELLS)
def test_the_printed_interval_of_an_accuracy_covers(seeds: int, rate: float, points: float) -> None:
    covered, _ = _coverage(seeds, rate, points, _printed, 500)
    assert covered >= 0.91


def test_it_covers_more_than_the_symmetric_one_and_is_narrower_than_the_logit() -> None:
    cell = (3, 0.985, 0.01)
    printed, symmetric, logit = (
        _coverage(*cell, interval, 500) for interval in (_printed, _symmetric, _on_logit_scale)
    )
    assert printed[0] > symmetric[0] + 0.02
    assert printed[0] >= logit[0] - 0.01
    assert printed[1] < 0.9 * logit[1]


def test_without_degrees_of_freedom_two_seeds_do_not_cover() -> None:
    cell = (2, 0.96, 0.03)
    assert _coverage(*cell, _without_degrees, 400)[0] < 0.82
    assert _coverage(*cell, _printed, 400)[0] >= 0.88


@pytest.mark.parametrize(("seeds", "family"), [(3, 16), (5, 16), (3, 1)])
def test_a_detectable_difference_gets_its_verdict_in_four_of_five(seeds: int, family: int) -> None:
    """The printed verdict, after Holm over a family whose other differences are none; the former MDE ignored that."""
    rng, runs = np.random.default_rng([seeds, family]), 500
    examples, seed_sd, example_sd = 200, 0.02, 0.45

    def experiment(effect: float) -> Estimate:
        noise = example_sd * rng.normal(size=examples) + 0.3 * rng.normal(size=(seeds, examples))
        return estimate_mean(effect + seed_sd * rng.normal(size=(seeds, 1)) + noise)

    pilots = [experiment(0.0) for _ in range(300)]
    error = math.sqrt(float(np.mean([pilot.variance for pilot in pilots])))
    df = float(np.median([pilot.df for pilot in pilots]))
    effect = minimum_detectable(error, df, 0.05 / family)
    found = sum(_verdict(experiment(effect), rng.random(family - 1)) == "better" for _ in range(runs))
    former = float(stats.t.ppf(0.975, df) + stats.t.ppf(0.8, df)) * error
    found_before = sum(_verdict(experiment(former), rng.random(family - 1)) == "better" for _ in range(runs))
    assert 0.72 <= found / runs <= 0.92
    assert family == 1 or found_before / runs < 0.7


def _verdict(found: Estimate, others: np.ndarray) -> str:
    low, high = found.interval(0.95) or (None, None)
    adjusted = holm_adjust([found.p_value(), *map(float, others)])[0]
    return comparison_verdict({"value": found.mean, "low": low, "high": high, "p": found.p_value()}, adjusted, 0.05)


@pytest.mark.parametrize("degrees", [1.0, 2.0, 4.0, 30.0, 499.0])
def test_the_detectable_difference_is_that_of_the_noncentral_t(degrees: float) -> None:
    shift = minimum_detectable(1.0, degrees, 0.05)
    assert stats.nct.sf(stats.t.ppf(0.975, degrees), degrees, shift) == pytest.approx(0.8, abs=2e-3)


def test_no_verdict_of_no_difference_stands_beside_an_interval_without_nought() -> None:
    rng = np.random.default_rng(5)
    seen = set()
    for _ in range(400):
        found = estimate_mean(0.05 + 0.45 * rng.normal(size=300) + 0.3 * rng.normal(size=(3, 300)))
        low, high = found.interval(0.95) or (0.0, 0.0)
        verdict = _verdict(found, rng.random(15))
        seen.add(verdict)
        assert (verdict == "not different") == (low <= 0 <= high)
    assert seen == {"better", "not different", "not after correction"}


def test_alike_answers_are_seldom_called_equivalent_or_kept_where_they_are_not() -> None:
    """At the boundary, in samples so small that often all answers are alike: at most 5 % may be called so."""
    rng, runs, examples = np.random.default_rng(6), 4000, 30
    equivalent = kept = 0
    for _ in range(runs):
        apart = -(rng.random((1, examples)) < 0.02).astype(float)
        equivalent += decide_equivalence(estimate_mean(apart), 0.02, 0.05).outcome == "equivalent"
        right = scores("a", (rng.random((1, examples)) < 0.95).astype(float), seeds=False)
        kept += (
            decide_retention(right, scores("b", np.ones((1, examples)), seeds=False), 0.95, 0.05).outcome
            == "non-inferior"
        )
    assert equivalent / runs <= 0.05
    assert kept / runs <= 0.05
