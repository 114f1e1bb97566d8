"""The expected calibration error by hand, and how its interval behaves."""

from __future__ import annotations

import numpy as np
import pytest

from latentwire.statistics.bootstrap import BootstrapPlan
from latentwire.statistics.calibration import estimate_calibration, top_label_confidence
from latentwire.statistics.scores import Matrix
from tests.support.scores import scores

PLAN = BootstrapPlan(resamples=2000, seed=1)


def test_confidence_is_the_largest_share_of_the_softmax() -> None:
    assert top_label_confidence(np.log([[0.2, 0.5, 0.3], [1.0, 1.0, 2.0]])) == pytest.approx([0.5, 0.5])
    assert top_label_confidence(np.array([[0.0, -np.inf]])) == pytest.approx([1.0])


def test_by_hand() -> None:
    """Four answers at 0.85, three right: 0.10; six at 0.55, three right: 0.05; weighted 0.07."""
    certain = np.array([[0.85] * 4 + [0.55] * 6])
    right = np.array([[1.0, 1, 1, 0, 1, 1, 1, 0, 0, 0]])
    found = estimate_calibration(scores("a", right, seeds=False), scores("a", certain, seeds=False), 0.95, PLAN)
    assert found["value"] == pytest.approx(0.4 * 0.10 + 0.6 * 0.05)
    assert [(b["bin"], b["share"], b["accuracy"]) for b in found["bins"]] == [(5, 0.6, 0.5), (8, 0.4, 0.75)]
    assert found["estimand"] == "this checkpoint"
    assert "ci:pigeonhole-t|conf:0.95|bins:10|S:1|N:10|R:2000|seed:1|" in found["signature"]


def _overconfident(rng: np.random.Generator, seeds: int, examples: int) -> tuple[Matrix, Matrix]:
    """Right with 0.15 less than the confidence, so that the true error is 0.15."""
    certain = rng.uniform(0.55, 0.95, size=(seeds, examples))
    return (rng.random((seeds, examples)) < certain - 0.15).astype(float), certain


@pytest.mark.long
def test_the_interval_covers_a_known_error() -> None:
    rng, covered, runs = np.random.default_rng(3), 0, 150
    for _ in range(runs):
        right, certain = _overconfident(rng, 3, 600)
        found = estimate_calibration(scores("a", right), scores("a", certain), 0.95, BootstrapPlan(300, 1))
        covered += found["low"] <= 0.15 <= found["high"]
    assert 0.90 <= covered / runs <= 1.0


def test_seeds_are_taken_one_by_one() -> None:
    """Two seeds whose errors cancel in the mean are no calibrated method."""
    certain = np.full((2, 40), 0.75)
    right = np.stack([np.ones(40), (np.arange(40) < 20).astype(float)])
    assert estimate_calibration(scores("a", right), scores("a", certain), 0.95, PLAN)["value"] == pytest.approx(0.25)
