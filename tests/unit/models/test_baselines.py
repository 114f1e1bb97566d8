from __future__ import annotations

import pytest
import torch
from sklearn.datasets import make_blobs

from latentwire.models.baselines import score_by_majority, score_by_probe


def test_majority_is_the_most_frequent_training_label() -> None:
    scores = score_by_majority([2, 1, 2, 0, 2], classes=3, count=4)
    assert scores.argmax(dim=1).tolist() == [2, 2, 2, 2]
    torch.testing.assert_close(scores.exp().sum(dim=1), torch.ones(4, dtype=torch.float64))


def test_a_probe_separates_what_is_separable() -> None:
    points, labels = make_blobs(n_samples=200, centers=[[5, 0, 1], [0, 5, 1], [0, 0, 5]], random_state=0)
    states = torch.from_numpy(points).float()
    scores = score_by_probe(states[:150], labels[:150].tolist(), states[150:], 1.0)
    assert (scores.argmax(dim=1).numpy() == labels[150:]).mean() > 0.95
    torch.testing.assert_close(scores.exp().sum(dim=1), torch.ones(50, dtype=torch.float64))


def test_a_probe_is_reproducible() -> None:
    states = torch.randn(60, 8, generator=torch.Generator().manual_seed(0))
    labels = [i % 3 for i in range(60)]
    assert torch.equal(score_by_probe(states, labels, states, 1.0), score_by_probe(states, labels, states, 1.0))


def test_a_label_without_examples_is_refused() -> None:
    with pytest.raises(ValueError, match=r"found those of \[0, 2\]"):
        score_by_probe(torch.randn(4, 3), [0, 2, 0, 2], torch.randn(1, 3), 1.0)
