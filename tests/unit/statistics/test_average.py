"""The mean over tasks: seeds shared by the tasks, examples not, and that its interval covers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latentwire.errors import EvidenceError
from latentwire.statistics.mean_over_tasks import estimate_mean_over_tasks
from latentwire.statistics.scores import Matrix, Paired
from latentwire.statistics.twoway import Estimate, estimate_mean


def average(*matrices: Matrix) -> Estimate:
    return estimate_mean_over_tasks([Paired(matrix) for matrix in matrices])


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 4), st.integers(8, 25), st.integers(0, 2**32 - 1))
def test_of_one_task_it_is_the_two_way_estimate(seeds: int, examples: int, stream: int) -> None:
    values = np.random.default_rng(stream).integers(0, 2, size=(seeds, examples)).astype(float)
    one, same = estimate_mean(values), average(values)
    assert (same.mean, same.variance, same.df) == pytest.approx((one.mean, one.variance, one.df))
    assert same.shares == (None if one.shares is None else pytest.approx(one.shares))


def test_it_does_not_depend_on_the_order_of_tasks_and_negates() -> None:
    rng = np.random.default_rng(1)
    first, second = rng.normal(size=(3, 40)), rng.normal(size=(3, 70))
    there, back = average(first, second), average(second, first)
    assert (there.mean, there.variance, there.df) == pytest.approx((back.mean, back.variance, back.df))
    assert average(-first, -second).p_value() == pytest.approx(there.p_value())


def test_a_seed_that_is_good_on_every_task_weighs_more_than_one_that_is_not() -> None:
    """The same matrices with the seeds of the second task in the other order: only the pairing of seeds differs."""
    noise = np.random.default_rng(2).normal(size=(2, 3, 400))
    skill = np.array([[-0.5], [0.0], [0.5]])
    together = average(noise[0] + skill, noise[1] + skill)
    against = average(noise[0] + skill, noise[1] + skill[::-1])
    assert together.variance > 5 * against.variance


def test_copied_seeds_are_worth_nothing_and_constants_have_no_interval() -> None:
    row = (np.arange(30) % 3 > 0).astype(float)[None]
    assert average(np.repeat(row, 3, axis=0), np.repeat(1 - row, 3, axis=0)).variance == pytest.approx(
        average(row, 1 - row).variance
    )
    constant = average(np.ones((3, 10)), np.zeros((3, 20)))
    assert (constant.mean, constant.interval(0.95), constant.examples) == (0.5, None, 30)


def test_unequal_seeds_are_refused() -> None:
    with pytest.raises(EvidenceError, match=r"\[2, 3\] seeds, expected the same seeds on every task"):
        average(np.eye(3, 10), np.eye(2, 10))
    with pytest.raises(EvidenceError, match="expected the same seeds"):
        estimate_mean_over_tasks([Paired(np.eye(3, 10), np.eye(3, 10))])


@pytest.mark.long
@pytest.mark.parametrize(("seeds", "spread"), [(3, 0.04), (5, 0.02)])
def test_the_interval_covers_and_the_test_keeps_its_level(seeds: int, spread: float) -> None:
    """Two tasks of unequal size; the effect of a seed is the same on both."""
    runs, rng, covered, rejected = 1500, np.random.default_rng(3), 0, 0
    for _ in range(runs):
        effect = spread * rng.normal(size=(seeds, 1))
        tasks = [effect + 0.3 * rng.normal(size=n) + 0.4 * rng.normal(size=(seeds, n)) for n in (120, 300)]
        found = average(*tasks)
        interval, p = found.interval(0.95), found.p_value()
        assert interval is not None
        assert p is not None
        covered += interval[0] <= 0 <= interval[1]
        rejected += p < 0.05
    assert 0.93 <= covered / runs <= 0.97
    assert 0.03 <= rejected / runs <= 0.06
