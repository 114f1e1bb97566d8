"""What must hold for any scores: symmetry, invariance, and seeds that are worth no more than they are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from latentwire.statistics.claims import NO_VARIANCE, cohen_h, decide_equivalence, decide_retention
from latentwire.statistics.comparisons import Settings, compare_methods, comparison_verdict, detectable_difference
from latentwire.statistics.exact import proportion_interval, wilson_interval
from latentwire.statistics.scores import Matrix, Scores, pair_scores
from latentwire.statistics.twoway import estimate_mean
from tests.support.scores import scores, untrained_scores

CHOSEN = Settings(confidence=0.95, reference="text", adjust="holm", retained=0.95)
shapes = st.tuples(st.integers(1, 4), st.integers(8, 25))
binary = shapes.flatmap(lambda shape: arrays(float, shape, elements=st.sampled_from([0.0, 1.0])))


@settings(max_examples=60, deadline=None)
@given(binary)
def test_swapping_negates_and_keeps_p(values: Matrix) -> None:
    other = (np.arange(values.shape[1]) % 3 > 0).astype(float)[None]
    a, b = scores("a", values), scores("b", other, seeds=False)
    there, back = compare_methods(a, b, CHOSEN), compare_methods(b, a, CHOSEN)
    assert there["value"] == pytest.approx(-back["value"])
    assert there["p"] == pytest.approx(back["p"])
    if there["low"] is not None:
        assert (there["low"], there["high"]) == pytest.approx((-back["high"], -back["low"]))


@settings(max_examples=60, deadline=None)
@given(binary, st.integers(0, 2**32 - 1))
def test_the_order_of_seeds_and_examples_changes_nothing(values: Matrix, stream: int) -> None:
    rng = np.random.default_rng(stream)
    shuffled = rng.permutation(rng.permutation(values, axis=0), axis=1)
    one, other = estimate_mean(values), estimate_mean(shuffled)
    assert one.mean == pytest.approx(other.mean)
    assert one.variance == pytest.approx(other.variance)
    assert one.p_value(0.3) == pytest.approx(other.p_value(0.3))


@settings(max_examples=60, deadline=None)
@given(arrays(float, (1, 20), elements=st.sampled_from([0.0, 1.0])), st.integers(2, 6))
def test_a_copied_seed_is_worth_nothing(row: Matrix, copies: int) -> None:
    once, often = estimate_mean(row), estimate_mean(np.repeat(row, copies, axis=0))
    assert often.variance == pytest.approx(once.variance)
    assert often.df == pytest.approx(once.df)


def test_seeds_that_correspond_are_paired_and_others_add_their_variance() -> None:
    rng = np.random.default_rng(0)
    skill = 0.6 + 0.15 * rng.normal(size=(3, 1))
    a = scores("a", (rng.random((3, 400)) < skill).astype(float))
    b = scores("b", (rng.random((3, 400)) < skill).astype(float))
    elsewhere = Scores("b", b.values, b.examples, (10, 11, 12))
    assert pair_scores(a, b).subtrahend is None
    paired, unpaired = estimate_mean(pair_scores(a, b)), estimate_mean(pair_scores(a, elsewhere))
    assert unpaired.mean == pytest.approx(paired.mean)
    assert unpaired.variance > paired.variance
    fewer = Scores("b", b.values[:2], b.examples, (0, 1))
    assert estimate_mean(pair_scores(a, fewer)).seeds == 3


def test_unpaired_seeds_of_the_baseline_count_as_they_should() -> None:
    """B differs between seeds by constants only, so its mean adds exactly their variance over their number."""
    a = scores("a", np.repeat((np.arange(40) % 3 > 0).astype(float)[None], 2, axis=0))
    shifts = np.array([0.0, 0.3, 0.9])
    b = Scores("b", np.repeat(shifts[:, None], 40, axis=1), a.examples, (7, 8, 9))
    alone, both = estimate_mean(a.values - shifts.mean()), estimate_mean(pair_scores(a, b))
    assert both.mean == pytest.approx(alone.mean)
    assert both.variance == pytest.approx(alone.variance + shifts.var(ddof=1) / 3)
    assert both.df == pytest.approx(2, abs=0.5)
    assert alone.df == pytest.approx(39)


def test_a_deterministic_baseline_is_taken_from_every_seed() -> None:
    values = np.array([[1.0, 0, 1, 1], [0, 0, 1, 1]])
    baseline = np.array([[1.0, 1, 0, 1]])
    paired = pair_scores(scores("a", values), scores("b", baseline, seeds=False))
    assert paired.values == pytest.approx(values - baseline)
    assert paired.subtrahend is None


def test_scores_that_do_not_vary_have_no_interval_but_a_reason() -> None:
    same = compare_methods(untrained_scores("a", right=5, count=20), untrained_scores("b", right=5, count=20), CHOSEN)
    assert (same["value"], same["p"], same["low"], detectable_difference(same, 0.05)) == (0.0, 1.0, None, None)
    assert same["reason"] == NO_VARIANCE
    always = scores("a", np.ones((3, 20)))
    never = scores("b", np.zeros((1, 20)), seeds=False)
    apart = compare_methods(always, never, CHOSEN)
    assert apart["p"] == pytest.approx(2 / 2**20)
    assert apart["effects"]["d_z"] is None
    assert apart["effects"]["undefined"]["d_z"] == NO_VARIANCE
    assert comparison_verdict(apart, apart["p"], 0.05) == "better"


def test_ninety_five_against_fifty_percent_is_found() -> None:
    rng = np.random.default_rng(3)
    good, coin = (rng.random((1, 1000)) < 0.95).astype(float), (rng.random((1, 1000)) < 0.5).astype(float)
    single = compare_methods(scores("a", good, seeds=False), scores("b", coin, seeds=False), CHOSEN)
    several = compare_methods(scores("a", np.repeat(good, 3, axis=0)), scores("b", coin, seeds=False), CHOSEN)
    assert single["p"] < 1e-4
    assert several["p"] < 1e-4


def test_the_estimand_is_named() -> None:
    several = compare_methods(scores("a", np.eye(3, 20)), untrained_scores("b", right=5, count=20), CHOSEN)
    one = compare_methods(untrained_scores("a", right=9, count=20), untrained_scores("b", right=5, count=20), CHOSEN)
    assert (several["estimand"], one["estimand"]) == ("this method", "this checkpoint")
    assert "p:t|S:3|N:20" in several["signature"]
    assert "p:mcnemar|S:1|N:20" in one["signature"]


def test_accuracies_stay_between_nought_and_one() -> None:
    low, high = proportion_interval(estimate_mean(untrained_scores("a", right=20, count=20).values), 0.95)
    assert high == 1.0
    assert low == pytest.approx(1 / (1 + 3.841459 / 20), abs=1e-6)
    nearly = estimate_mean(untrained_scores("a", right=19, count=20).values)
    assert proportion_interval(nearly, 0.95)[1] <= 1.0


def test_two_seeds_have_the_degrees_of_freedom_of_two_seeds() -> None:
    """The quantile is Student's: with one degree of freedom it is 12.7, not 1.96."""
    values = np.vstack([np.arange(200) < 196, np.arange(200) < 180]).astype(float)
    rate = estimate_mean(values)
    low, high = proportion_interval(rate, 0.95)
    trials = rate.mean * (1 - rate.mean) / rate.variance
    narrow = wilson_interval(rate.mean * trials, trials, 0.95)
    assert rate.df < 1.5
    assert low < narrow[0] - 0.1
    assert high <= 1.0


@pytest.mark.parametrize(
    ("right", "outcome"), [(760, "non-inferior"), (600, "inferior"), (735, "inconclusive"), (710, "inconclusive")]
)
def test_retention_has_three_outcomes(right: int, outcome: str) -> None:
    rng = np.random.default_rng(4)
    b = scores("b", rng.permutation(np.arange(1000) < 760).astype(float)[None], seeds=False)
    a = scores("a", rng.permutation(np.arange(1000) < right).astype(float)[None], seeds=False)
    found = decide_retention(a, b, 0.95, 0.05)
    assert found.outcome == outcome
    assert found.ratio == pytest.approx(right / 760)


@pytest.mark.parametrize(("shift", "outcome"), [(0.0, "equivalent"), (0.5, "different"), (0.1, "inconclusive")])
def test_equivalence_has_three_outcomes(shift: float, outcome: str) -> None:
    values = np.random.default_rng(5).normal(size=(1, 2000))
    assert decide_equivalence(estimate_mean(values - values.mean() + shift), 0.1, 0.05).outcome == outcome


@pytest.mark.parametrize(("count", "outcome"), [(500, "non-inferior"), (59, "non-inferior"), (58, "inconclusive")])
def test_all_right_in_both_is_tested_before_it_is_called_kept(count: int, outcome: str) -> None:
    """A mean of retained·B is 0.05 on every example; 0.95^59 is below 0.05, 0.95^58 is not."""
    both = np.ones((2, count))
    kept = decide_retention(scores("a", both), scores("b", both[:1], seeds=False), 0.95, 0.05)
    assert (kept.outcome, kept.p) == (outcome, pytest.approx(0.95**count))
    assert decide_retention(scores("a", 0 * both), scores("b", both), 0.95, 0.05).outcome == "inferior"
    assert decide_retention(scores("a", 0 * both), scores("b", 0 * both), 0.95, 0.05).outcome == "inconclusive"


@pytest.mark.parametrize(("count", "outcome"), [(500, "equivalent"), (149, "equivalent"), (148, "inconclusive")])
def test_equal_answers_are_tested_before_they_are_called_equivalent(count: int, outcome: str) -> None:
    """No discordant example of N: Clopper and Pearson's limit is below 2 % from 149 on."""
    row = (np.arange(count) % 3 > 0).astype(float)[None]
    same = decide_equivalence(estimate_mean(row - row), 0.02, 0.05)
    assert (same.outcome, same.p_low, same.p_high) == (outcome, *[pytest.approx(0.98**count)] * 2)
    assert decide_equivalence(estimate_mean(np.ones((3, count))), 0.02, 0.05).outcome == "different"


def test_cohens_h_of_three_quarters_against_one_is_sixty_degrees() -> None:
    assert cohen_h(0.75, 0.25) == pytest.approx(np.pi / 3)


@pytest.mark.parametrize(
    ("low", "high", "adjusted", "expected"),
    [
        (0.01, 0.05, 0.049, "better"),
        (0.01, 0.05, 0.05, "not after correction"),
        (-0.01, 0.05, 0.001, "not different"),
        (-0.01, 0.05, 0.5, "not different"),
        (0.01, 0.05, None, "not after correction"),
        (None, None, 0.001, "better"),
        (None, None, 0.2, "not after correction"),
    ],
)
def test_a_verdict_needs_both(low: float | None, high: float | None, adjusted: float | None, expected: str) -> None:
    assert comparison_verdict({"value": 0.03, "low": low, "high": high, "p": 0.001}, adjusted, 0.05) == expected
