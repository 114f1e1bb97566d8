"""The crossed bootstrap against closed forms, and what must hold of its draws."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from latentwire.errors import EvidenceError
from latentwire.statistics import bootstrap
from latentwire.statistics.bootstrap import (
    BootstrapPlan,
    percentile_interval,
    resample_crossed,
    resample_examples,
    resample_seeds,
)
from latentwire.statistics.claims import decide_retention, fieller_interval
from latentwire.statistics.scores import Matrix, Scores
from tests.support.scores import scores

PLAN = BootstrapPlan(resamples=20_000, seed=12345)


def _binary(shape: tuple[int, int], stream: int, rate: float = 0.7) -> Matrix:
    rng = np.random.default_rng(stream)
    skill = rate + 0.08 * rng.normal(size=(shape[0], 1))
    return (rng.random(shape) * 0.6 + rng.random(shape[1]) * 0.4 < skill).astype(float)


def _plug_in(values: Matrix) -> float:
    """Variance of the grand mean under the crossed bootstrap: rows (corrected), columns and their interaction."""
    seeds, examples = values.shape
    rows, columns = values.mean(axis=1), values.mean(axis=0)
    residual = values - rows[:, None] - columns + values.mean()
    seed_part = rows.var(ddof=1) / seeds if seeds > 1 else 0.0
    inflation = seeds / (seeds - 1) if seeds > 1 else 1.0
    return float(seed_part + columns.var() / examples + inflation * residual.var() / (seeds * examples))


@pytest.mark.parametrize("kind", ["binary", "real"])
def test_the_variance_of_the_draws_is_the_closed_form(kind: str) -> None:
    values = _binary((3, 300), 1) if kind == "binary" else np.random.default_rng(1).normal(size=(3, 60)) ** 2
    draws = resample_crossed([scores("a", values)], PLAN)[0]
    assert draws.var() == pytest.approx(_plug_in(values), rel=0.03)
    assert draws.mean() == pytest.approx(values.mean(), abs=4 * np.sqrt(_plug_in(values) / PLAN.resamples))


def test_the_pigeonhole_variance_of_the_crossed_layout() -> None:
    """The clusters of the reference table as 40 seeds × 5 examples: Monte Carlo and algebra agree."""
    i = np.arange(1, 201)
    values = (np.sin(np.ceil(i / 5)) + 0.5 * np.cos(i)).reshape(40, 5)
    draws = resample_crossed([scores("a", values)], PLAN)[0]
    assert draws.var() / _plug_in(values) == pytest.approx(1, abs=0.03)


def test_patterns_and_weights_have_one_distribution(monkeypatch: pytest.MonkeyPatch) -> None:
    columns = _binary((4, 400), 2).T
    by_pattern = resample_examples(columns, PLAN)
    monkeypatch.setattr(bootstrap, "FEWEST_REPEATS", 10**9)
    by_weight = resample_examples(columns, PLAN)
    assert np.cov(by_pattern.T) == pytest.approx(np.cov(by_weight.T), rel=0.06, abs=1e-6)
    assert stats.ks_2samp(by_pattern[:, 0], by_weight[:, 0]).pvalue > 0.001


def test_against_scipys_percentile_interval() -> None:
    values = np.random.default_rng(3).exponential(size=(1, 200))
    ours = percentile_interval(resample_crossed([scores("a", values, seeds=False)], PLAN)[0], 0.95)
    oracle = stats.bootstrap((values[0],), np.mean, n_resamples=20_000, batch=200, method="percentile", rng=4)
    assert ours == pytest.approx(tuple(oracle.confidence_interval), abs=0.01)


def test_all_methods_share_the_draws() -> None:
    """Two equal methods differ in no draw, and a method minus one that is always 0.1 lower is always 0.1."""
    values = np.random.default_rng(5).random((3, 80))
    one, same, lower = resample_crossed([scores("a", values), scores("b", values), scores("c", values - 0.1)], PLAN)
    assert np.array_equal(one, same)
    assert one - lower == pytest.approx(np.full(PLAN.resamples, 0.1))


def test_seeds_that_do_not_correspond_are_drawn_apart() -> None:
    means = np.tile([0.1, 0.5, 0.9], (1000, 1))
    same, again, other = (resample_seeds(means, seeds, PLAN) for seeds in [(0, 1, 2), (0, 1, 2), (3, 4, 5)])
    assert np.array_equal(same, again)
    assert abs(np.corrcoef(same, other)[0, 1]) < 0.15


def test_the_order_of_examples_changes_no_draw_of_patterns() -> None:
    values = _binary((3, 300), 6)
    shuffled = values[:, np.random.default_rng(0).permutation(300)]
    assert np.array_equal(
        resample_crossed([scores("a", values)], PLAN)[0], resample_crossed([scores("a", shuffled)], PLAN)[0]
    )


def test_the_same_plan_gives_the_same_draws_and_few_resamples_are_refused() -> None:
    values = np.random.default_rng(7).random((2, 30))
    first, second = (resample_crossed([scores("a", values)], BootstrapPlan(200, 1))[0] for _ in range(2))
    assert np.array_equal(first, second)
    with pytest.raises(EvidenceError, match=r"of 99 resamples was asked for, expected at least 100.*Next: raise"):
        BootstrapPlan(99, 1)


def test_fieller_and_bootstrap_agree_on_a_ratio() -> None:
    a, b = scores("a", _binary((5, 800), 8)), scores("b", _binary((1, 800), 9, rate=0.6), seeds=False)
    draws = resample_crossed([a, b], PLAN)
    assert fieller_interval(a, b, 0.95) == pytest.approx(percentile_interval(draws[0] / draws[1], 0.95), abs=0.03)


def test_fiellers_ends_are_where_the_contrast_is_just_rejected() -> None:
    a, b = scores("a", _binary((3, 200), 10)), scores("b", _binary((1, 200), 11), seeds=False)
    interval = fieller_interval(a, b, 0.90)
    assert interval is not None
    low, high = interval
    assert decide_retention(a, b, low, 0.05).p == pytest.approx(0.05, abs=1e-6)
    assert 1 - (decide_retention(a, b, high, 0.05).p or 0) == pytest.approx(0.05, abs=1e-6)


def test_a_ratio_without_an_end_or_without_variation_has_no_interval() -> None:
    examples = tuple("abcdefgh")
    rare = Scores("b", np.array([[1.0, 0, 0, 0, 0, 0, 0, 0]]), examples, None)
    common = Scores("a", np.array([[1.0, 0, 1, 1, 0, 1, 1, 1]]), examples, None)
    assert fieller_interval(common, rare, 0.95) is None
    assert fieller_interval(common, Scores("b", np.zeros((1, 8)), examples, None), 0.95) is None
    assert fieller_interval(common, common, 0.95) is None
