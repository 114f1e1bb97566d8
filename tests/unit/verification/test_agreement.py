"""Size and power of the rule by which two runs agree, on simulated runs (fixed seeds), and its degenerate cases."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from scipy import stats

from latentwire.statistics.exact import mcnemar_p
from latentwire.statistics.scores import Matrix
from latentwire.statistics.twoway import estimate_mean
from latentwire.verification.agreement import (
    Disagreement,
    Trial,
    compare_spreads,
    compare_values,
    judge_numbers,
)
from latentwire.verification.run_noise import Measured, measure_entry, measure_seeds

EXAMPLES, NUMBERS = 500, 12
DENSITY = 1.5 / stats.norm.pdf(stats.norm.ppf(0.8))
"""Skill (probit scale of `_answers`) by which an accuracy of 80 % moves by 1."""


def _answers(
    rng: np.random.Generator, difficulty: Matrix, seeds: int, points: float, rate: float, off: float
) -> Matrix:
    """Right or wrong [S, N] on given examples; seeds move the accuracy by `points`, and all of it by `off`."""
    skill = 1.5 * stats.norm.ppf(rate) + DENSITY * (off + points * rng.normal(size=(seeds, 1)))
    return (skill + 0.9 * rng.normal(size=(seeds, len(difficulty))) > 1.2 * difficulty).astype(float)


def _measured(scores: Matrix, trained: bool = True) -> Measured:
    mean = estimate_mean(scores)
    entry = {"value": mean.mean, "S": mean.seeds, "N": mean.examples, "variance": mean.variance, "shares": mean.shares}
    return measure_entry(entry, trained, 0.95)


def _pairs(
    rng: np.random.Generator, seeds: int, points: float, rate: float, off: float
) -> Iterator[tuple[Measured, Measured]]:
    """The numbers of two runs of one procedure; in the second the first number is off."""
    for number in range(NUMBERS):
        difficulty = rng.normal(size=EXAMPLES)
        runs = (_answers(rng, difficulty, seeds, points, rate, shift) for shift in (0.0, 0.0 if number else -off))
        before, after = (_measured(run, trained=seeds > 1) for run in runs)
        yield before, after


def _contradicted(seed: int, seeds: int, points: float, rate: float = 0.8, off: float = 0.0) -> bool:
    trials: dict[str, Trial] = {}
    for number, both in enumerate(_pairs(np.random.default_rng([seed, seeds]), seeds, points, rate, off)):
        tests = {f"{number}": compare_values(*both), f"{number} seeds": compare_spreads(*both)}
        trials |= {name: test for name, test in tests.items() if isinstance(test, Trial)}
    return bool(judge_numbers(trials))


@pytest.mark.parametrize(
    ("seeds", "points", "rate"),
    [(2, 0.04, 0.8), (3, 0.0, 0.8), (3, 0.04, 0.8), (3, 0.1, 0.8), (5, 0.04, 0.8), (1, 0.0, 0.8), (1, 0.0, 0.99)],
)
def test_an_honest_run_is_rarely_contradicted(seeds: int, points: float, rate: float) -> None:
    runs = 100
    assert sum(_contradicted(run, seeds, points, rate) for run in range(runs)) <= 0.05 * runs


@pytest.mark.parametrize(("seeds", "points", "off"), [(3, 0.01, 0.16), (5, 0.01, 0.07), (1, 0.0, 0.11)])
def test_a_number_that_is_off_is_found(seeds: int, points: float, off: float) -> None:
    runs = 30
    assert sum(_contradicted(run, seeds, points, off=off) for run in range(runs)) >= 0.8 * runs


def test_a_run_whose_seeds_disagree_wildly_does_not_agree_with_anything() -> None:
    published, wild = _answers_at(0.900, 0.902, 0.898), _answers_at(0.9, 0.1, 0.5)
    value, spread = compare_values(published, wild), compare_spreads(published, wild)
    assert isinstance(value, Trial)
    assert isinstance(spread, Trial)
    assert value.p > 0.05 > spread.p * 64
    found = judge_numbers({"accuracy": value, "spread": spread})
    assert set(found) == {"spread"}
    assert "times as far as the published ones, p " in found["spread"].said


def test_answers_of_which_only_the_seed_decides_are_compared_too() -> None:
    """Where no example is harder than another, the whole variance is that of seeds and chance."""
    alone = {"variance": 1e-2, "shares": {"seeds": 0.7, "examples": 0.0, "residual": 0.3}}
    test = compare_spreads(_answers_at(0.900, 0.902, 0.898), measure_entry(_entry(**alone), True, 0.95))
    assert test
    assert test.p < 0.001


def test_a_variance_that_is_not_stored_by_its_parts_tells_no_spread() -> None:
    interval = {"value": 0.1, "S": 3, "N": 100, "low": 0.05, "high": 0.15, "df": 5.0}
    whole = measure_entry(interval, True, 0.95)
    assert compare_spreads(whole, whole) is None


def test_seeds_that_disagree_less_than_published_are_no_contradiction() -> None:
    test = compare_spreads(_answers_at(0.9, 0.1, 0.5), _answers_at(0.900, 0.902, 0.898))
    assert test
    assert test.p > 0.99


def _answers_at(*rates: float) -> Measured:
    """Seeds with these accuracies, whose right answers are nested: no seed differs from another by chance."""
    return _measured(np.array([np.arange(EXAMPLES) < rate * EXAMPLES for rate in rates], dtype=float))


def test_students_test_is_what_is_made_of_seeds() -> None:
    """Where seeds differ more than their answers do by chance, it is Student's test of the seeds' accuracies."""
    first, second = (0.90, 0.86, 0.88, 0.80), (0.70, 0.78, 0.75, 0.72)
    test = compare_values(_answers_at(*first), _answers_at(*second))
    assert isinstance(test, Trial)
    assert test.p == pytest.approx(stats.ttest_ind(first, second).pvalue)
    losses = compare_values(measure_seeds(first), measure_seeds(second))
    assert isinstance(losses, Trial)
    assert losses.p == pytest.approx(stats.ttest_ind(first, second).pvalue)


def test_pairing_answers_finds_what_two_intervals_do_not() -> None:
    """Five points of 500 answers: lost by chance in both directions, and lost in one."""
    right = np.ones((1, EXAMPLES))
    right[0, :200] = 0
    lost = right.copy()
    lost[0, 200:225] = 0
    independent = compare_values(_measured(right, trained=False), _measured(lost, trained=False))
    assert isinstance(independent, Trial)
    assert independent.p > 0.05
    assert mcnemar_p(0, 25) * 100 < 0.05


def test_holm_is_over_all_tests() -> None:
    trials = {str(number): Trial(0.5, "x") for number in range(99)}
    assert set(judge_numbers(trials | {"a": Trial(0.0004, "x")})) == {"a"}
    assert judge_numbers(trials | {"a": Trial(0.0006, "x")}) == {}
    assert judge_numbers({"a": Trial(0.04, "it is 1")})["a"].said == "it is 1, p 0.04 (Holm over 1)"
    assert judge_numbers({}) == {}


def _entry(**changes: Any) -> dict[str, Any]:
    return {"value": 0.9, "S": 3, "N": 100, "variance": 1e-4, "shares": None, **changes}


@pytest.mark.parametrize(
    ("published", "here", "trained", "said"),
    [
        (_entry(S=1), _entry(S=1, value=0.8), True, "it has one seed"),
        (_entry(variance=None), _entry(value=0.8), True, "no uncertainty is stored"),
        (_entry(value=math.nan), _entry(), True, "no uncertainty is stored"),
    ],
)
def test_what_cannot_be_judged_is_not_compatible(
    published: dict[str, Any], here: dict[str, Any], trained: bool, said: str
) -> None:
    test = compare_values(*(measure_entry(entry, trained, 0.95) for entry in (published, here)))
    assert isinstance(test, Disagreement)
    assert not test.judged
    assert said in test.said


def test_a_number_that_is_not_finite_here_contradicts() -> None:
    test = compare_values(measure_seeds([0.5, 0.6]), measure_seeds([0.5, math.nan]))
    assert isinstance(test, Disagreement)
    assert test.judged


def test_equal_numbers_need_no_test_even_with_one_seed() -> None:
    one = measure_entry(_entry(S=1), True, 0.95)
    assert compare_values(one, one) is None
    assert compare_spreads(one, one) is None


def _constant(rate: float, examples: int = EXAMPLES) -> Measured:
    return measure_entry(_entry(value=rate, N=examples, variance=0.0), True, 0.95)


def test_all_right_against_a_few_wrong_and_against_all_wrong() -> None:
    """At an end of the scale nothing varies in the published run; a few wrong answers are still no contradiction."""
    few = compare_values(_constant(1.0), _constant(1 - 2 / EXAMPLES))
    none = compare_values(_constant(1.0), _constant(0.0))
    assert isinstance(few, Trial)
    assert isinstance(none, Trial)
    assert few.p > 0.1
    assert none.p < 1e-9


def test_seeds_that_are_all_alike_are_compared_over_examples() -> None:
    same = {"variance": 0.09 / 99, "shares": {"seeds": 0.0, "examples": 1.0, "residual": 0.0}}
    near = compare_values(*(measure_entry(_entry(value=value, **same), True, 0.95) for value in (0.90, 0.85)))
    far = compare_values(*(measure_entry(_entry(value=value, **same), True, 0.95) for value in (0.90, 0.40)))
    assert isinstance(near, Trial)
    assert isinstance(far, Trial)
    assert near.p > 0.05
    assert far.p < 1e-6


def test_numbers_of_trainings_without_any_spread_cannot_be_judged() -> None:
    test = compare_values(measure_seeds([0.5, 0.5]), measure_seeds([0.4, 0.4]))
    assert isinstance(test, Disagreement)
    assert not test.judged
    assert "no seed differs from another" in test.said


def test_an_interval_that_was_cut_off_at_the_end_of_its_scale_is_not_narrower() -> None:
    whole = {"value": 0.02, "S": 1, "N": 100, "low": -0.01, "high": 0.05, "df": 30.0}
    cut = {**whole, "low": 0.0}
    assert measure_entry(cut, False, 0.95).noise == pytest.approx(measure_entry(whole, False, 0.95).noise)
    assert measure_entry(whole, False, 0.95).noise == pytest.approx((0.03 / stats.t.ppf(0.975, 30)) ** 2)
