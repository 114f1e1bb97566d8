"""What stands beside a difference: posterior, equivalence, checkpoints, single runs, planning."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from latentwire.statistics.comparisons import Settings
from latentwire.statistics.details import comparison_details, improvement_probability, posterior_probabilities
from latentwire.statistics.exact import mcnemar_p, newcombe_interval, paired_newcombe_interval, sign_flip_p
from latentwire.statistics.twoway import estimate_mean
from tests.support.scores import scores, untrained_scores

CHOSEN = Settings(confidence=0.95, reference="text", adjust="holm", retained=0.95, margin=0.1, resamples=999, seed=1)


def test_the_posterior_sums_to_one_and_mirrors_the_tests() -> None:
    found = estimate_mean(np.random.default_rng(1).normal(0.08, 1, size=(3, 300)))
    shares = posterior_probabilities(found, 0.05)
    assert shares["worse"] + shares["equivalent"] + shares["better"] == pytest.approx(1)
    assert shares["worse"] == pytest.approx(found.p_above(-0.05))
    assert shares["better"] == pytest.approx(1 - (found.p_above(0.05) or 0))
    draws = found.mean + found.error * stats.t.rvs(found.df, size=100_000, random_state=2)
    assert shares["equivalent"] == pytest.approx((abs(draws) < 0.05).mean(), abs=0.005)


def test_a_posterior_without_variance_is_null_with_a_reason() -> None:
    assert posterior_probabilities(estimate_mean(np.zeros((2, 9))), 0.1) == {
        "margin": 0.1, "worse": None, "equivalent": None, "better": None, "reason": "the scores do not vary"
    }  # fmt: skip


def test_single_runs_have_counts_and_no_checkpoint_record() -> None:
    found = comparison_details(
        untrained_scores("a", right=15, count=20), untrained_scores("b", right=9, count=20), CHOSEN
    )
    assert found["checkpoint"] is None
    assert (found["single"]["only_a"], found["single"]["only_b"]) == (6, 0)
    assert found["single"]["p_mid"] == pytest.approx(mcnemar_p(6, 0, mid=True))
    assert found["single"]["low"] < 0.3 < found["single"]["high"]
    assert found["improvement"] is None


def test_several_seeds_have_a_checkpoint_record_of_its_own_estimand() -> None:
    a = scores("a", (np.random.default_rng(2).random((3, 200)) < 0.7).astype(float))
    b = scores("b", (np.random.default_rng(3).random((1, 200)) < 0.5).astype(float), seeds=False)
    found = comparison_details(a, b, CHOSEN)
    means = (a.values.mean(axis=0) - b.values)[None, 0]
    assert found["single"] is None
    assert (found["checkpoint"]["low"], found["checkpoint"]["high"]) == pytest.approx(
        estimate_mean(means).interval(0.95)
    )
    assert found["checkpoint"]["p"] == sign_flip_p(means, 999, seed=1)
    assert found["checkpoint"]["estimand"] == "this checkpoint"
    assert "ci:examples|conf:0.95|p:signflip|S:3|N:200|R:999|seed:1|" in found["checkpoint"]["signature"]
    assert found["bootstrap"]["low"] < a.values.mean() - b.values.mean() < found["bootstrap"]["high"]
    assert found["equivalence"]["margin"] == 0.1


def test_the_probability_of_improvement_counts_pairs_of_runs() -> None:
    def runs(*right: int) -> np.ndarray:
        return np.stack([(np.arange(10) < count).astype(float) for count in right])

    assert improvement_probability(scores("a", runs(5, 7, 9)), scores("b", runs(7), seeds=False)) == pytest.approx(
        1.5 / 3
    )
    assert improvement_probability(scores("a", runs(5, 7)), scores("b", runs(6, 4))) == pytest.approx(3 / 4)


def test_newcombes_example() -> None:
    assert newcombe_interval(56, 70, 48, 80, 0.95) == pytest.approx((0.0524, 0.3339), abs=5e-5)


def test_the_paired_newcombe_interval_narrows_with_agreement_and_swaps() -> None:
    loose, tight = paired_newcombe_interval(42, 28, 18, 12, 0.95), paired_newcombe_interval(60, 10, 0, 30, 0.95)
    assert loose == pytest.approx(newcombe_interval(70, 100, 60, 100, 0.95), abs=0.01)
    assert tight[1] - tight[0] < 0.7 * (loose[1] - loose[0])
    low, high = paired_newcombe_interval(60, 0, 10, 30, 0.95)
    assert (-high, -low) == pytest.approx(tight)
    assert paired_newcombe_interval(20, 0, 0, 0, 0.95)[0] < 0 < paired_newcombe_interval(20, 0, 0, 0, 0.95)[1]


def test_the_paired_newcombe_interval_covers() -> None:
    drawn = np.random.default_rng(4).multinomial(150, [0.55, 0.15, 0.10, 0.20], size=1500)
    covered = [low <= 0.05 <= high for low, high in (paired_newcombe_interval(*map(int, row), 0.95) for row in drawn)]
    assert 0.93 <= np.mean(covered) <= 0.975


@pytest.mark.long
def test_mcnemars_test_has_the_power_that_connors_number_claims() -> None:
    """Connor's number of paired examples finds a difference of discordant shares with a power of 0.8."""
    total, apart = 0.08 + 0.05, 0.08 - 0.05
    root = stats.norm.ppf(0.975) * math.sqrt(total) + stats.norm.ppf(0.8) * math.sqrt(total - apart**2)
    assert math.ceil(root**2 / apart**2) == 1132  # 1131.05 without the rounding up
    drawn = np.random.default_rng(5).multinomial(1200, [0.08, 0.05, 0.87], size=3000)
    found = np.mean([mcnemar_p(int(row[0]), int(row[1])) < 0.05 for row in drawn])
    assert found == pytest.approx(0.807, abs=0.02)
