"""Permuted labels: as frequent as before, and nothing of the texts in them."""

from __future__ import annotations

from collections import Counter

import numpy as np

from latentwire.training.label_permutation import permute_labels

LABELS = [i % 2 for i in range(900)] + [2] * 100


def test_they_are_the_same_labels_in_an_order_of_the_seed_alone() -> None:
    permuted = permute_labels(LABELS, 3)
    assert Counter(permuted) == Counter(LABELS)
    assert permuted == permute_labels(LABELS, 3)
    assert permuted != LABELS
    assert permuted != permute_labels(LABELS, 4)


def test_they_agree_with_the_labels_by_chance_alone() -> None:
    """Over seeds, in Σ p² of the places, and as often above as below."""
    shares = np.array([np.mean(np.equal(permute_labels(LABELS, seed), LABELS)) for seed in range(200)])
    expected = 0.45**2 + 0.45**2 + 0.1**2
    error = shares.std() / len(shares) ** 0.5
    assert abs(shares.mean() - expected) < 4 * error
    assert 0.35 < (shares > expected).mean() < 0.65


def test_the_order_is_this_one_on_every_machine() -> None:
    assert permute_labels(list(range(8)), 0) == [6, 4, 7, 3, 1, 0, 5, 2]
