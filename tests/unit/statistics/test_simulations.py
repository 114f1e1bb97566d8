"""Coverage and error rates on simulated experiments with known truth (fixed seeds, closed forms)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from scipy import stats

from latentwire.statistics.claims import fieller_interval
from latentwire.statistics.multiplicity import holm_adjust
from latentwire.statistics.scores import Matrix, Scores
from latentwire.statistics.twoway import estimate_mean

pytestmark = pytest.mark.long

DIFFICULTY, INTERACTION, NOISE = 1.0, 0.5, 1.0
"""Standard deviations: shared difficulty of an example, method × example, seed × example (probit scale)."""


def _spread(seed_sd: float) -> float:
    return float(np.sqrt(DIFFICULTY**2 + INTERACTION**2 + NOISE**2 + seed_sd**2))


def _experiments(
    runs: int, seeds: int, examples: int, seed_sd: float, rates: tuple[float, float], stream: int
) -> Iterator[Matrix]:
    """Differences [S, N] of a method with seeds and a deterministic one; `rates` are their true accuracies."""
    rng = np.random.default_rng(stream)
    ease_a = stats.norm.ppf(rates[0]) * _spread(seed_sd)
    ease_b = stats.norm.ppf(rates[1]) * _spread(0.0)
    for _ in range(runs):
        difficulty = DIFFICULTY * rng.normal(size=examples)
        own_a, own_b = INTERACTION * rng.normal(size=(2, examples))
        skill = ease_a + seed_sd * rng.normal(size=(seeds, 1)) + NOISE * rng.normal(size=(seeds, examples))
        right_a = skill > difficulty + own_a
        right_b = ease_b + NOISE * rng.normal(size=examples) > difficulty + own_b
        yield right_a.astype(float) - right_b


def _seed_sd(points: float, rate: float) -> float:
    """Probit standard deviation of the seeds that moves accuracy by `points` (a share) near `rate`."""
    density = stats.norm.pdf(stats.norm.ppf(rate)) / _spread(0.0)
    return float(points / density)


@pytest.mark.parametrize(("seeds", "examples", "points"), [(3, 300, 0.0), (3, 1000, 0.013), (5, 300, 0.04)])
def test_the_two_way_interval_covers(seeds: int, examples: int, points: float) -> None:
    rates, runs = (0.75, 0.70), 1200
    covered = 0
    for values in _experiments(runs, seeds, examples, _seed_sd(points, rates[0]), rates, stream=seeds + examples):
        interval = estimate_mean(values).interval(0.95)
        assert interval is not None
        covered += interval[0] <= rates[0] - rates[1] <= interval[1]
    assert 0.93 <= covered / runs <= 0.97


def test_pooling_seeds_with_examples_does_not_cover() -> None:
    rates, runs, seeds, examples = (0.75, 0.70), 600, 3, 1000
    covered = 0
    for values in _experiments(runs, seeds, examples, _seed_sd(0.013, rates[0]), rates, stream=9):
        half = 1.96 * values.std(ddof=1) / np.sqrt(values.size)
        covered += abs(values.mean() - (rates[0] - rates[1])) <= half
    assert covered / runs < 0.85


def test_type_one_error() -> None:
    rates, runs = (0.72, 0.72), 2000
    rejected = 0
    for values in _experiments(runs, 5, 300, _seed_sd(0.013, rates[0]), rates, stream=4):
        p = estimate_mean(values).p_value()
        rejected += p is not None and p < 0.05
    assert 0.04 <= rejected / runs <= 0.06


def test_holm_holds_the_family_wise_error() -> None:
    runs, family, rates = 400, 10, (0.72, 0.72)
    raw = corrected = 0
    experiments = _experiments(runs * family, 3, 200, _seed_sd(0.013, rates[0]), rates, stream=5)
    for _ in range(runs):
        p_values = [estimate_mean(next(experiments)).p_value() for _ in range(family)]
        raw += any(p is not None and p < 0.05 for p in p_values)
        corrected += any(p is not None and p < 0.05 for p in holm_adjust(p_values))
    assert raw / runs > 0.25
    assert corrected / runs <= 0.06


def test_non_inferiority_at_its_boundary() -> None:
    """A keeps exactly 95 % of B, so each claim that it keeps more is an error."""
    rates, runs, retained = (0.95 * 0.72, 0.72), 1500, 0.95
    claimed = 0
    rng = np.random.default_rng(6)
    seed_sd = _seed_sd(0.013, rates[0])
    for _ in range(runs):
        difficulty = DIFFICULTY * rng.normal(size=400)
        own_a, own_b = INTERACTION * rng.normal(size=(2, 400))
        ease = stats.norm.ppf(rates[0]) * _spread(seed_sd) + seed_sd * rng.normal(size=(5, 1))
        right_a = ease + NOISE * rng.normal(size=(5, 400)) > difficulty + own_a
        right_b = stats.norm.ppf(rates[1]) * _spread(0.0) + NOISE * rng.normal(size=400) > difficulty + own_b
        above = estimate_mean(right_a - retained * right_b).p_above()
        claimed += above is not None and above < 0.05
    assert claimed / runs <= 0.07


@pytest.mark.parametrize(("seeds", "points"), [(3, 0.0), (5, 0.04)])
def test_the_interval_of_the_ratio_covers(seeds: int, points: float) -> None:
    """Fieller's, by inverting the two-way test, for the ratio of two accuracies on the same examples."""
    rates, runs, examples = (0.68, 0.72), 500, 400
    rng, seed_sd = np.random.default_rng(8), _seed_sd(points, rates[0])
    names = tuple(map(str, range(examples)))
    covered = 0
    for _ in range(runs):
        difficulty = DIFFICULTY * rng.normal(size=examples)
        own_a, own_b = INTERACTION * rng.normal(size=(2, examples))
        ease = stats.norm.ppf(rates[0]) * _spread(seed_sd) + seed_sd * rng.normal(size=(seeds, 1))
        right_a = ease + NOISE * rng.normal(size=(seeds, examples)) > difficulty + own_a
        right_b = stats.norm.ppf(rates[1]) * _spread(0.0) + NOISE * rng.normal(size=(1, examples)) > difficulty + own_b
        a = Scores("a", right_a.astype(float), names, tuple(range(seeds)))
        interval = fieller_interval(a, Scores("b", right_b.astype(float), names, None), 0.95)
        assert interval is not None
        covered += interval[0] <= rates[0] / rates[1] <= interval[1]
    assert 0.93 <= covered / runs <= 0.97
