from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from sklearn.datasets import make_blobs
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor
from torch.nn import functional as F

from latentwire.errors import ConfigurationError
from latentwire.models.baselines import score_by_majority, score_by_probe, score_by_readout


def test_majority_is_the_most_frequent_training_label() -> None:
    scores = score_by_majority([2, 1, 2, 0, 2], classes=3, count=4)
    assert scores.argmax(dim=1).tolist() == [2, 2, 2, 2]
    torch.testing.assert_close(scores.exp().sum(dim=1), torch.ones(4, dtype=torch.float64))


def test_a_probe_separates_what_is_separable() -> None:
    points, labels = make_blobs(n_samples=200, centers=[[5, 0, 1], [0, 5, 1], [0, 0, 5]], random_state=0)
    states = torch.from_numpy(points).float()
    scores = score_by_probe(states[:150], labels[:150].tolist(), states[150:], 3, 1.0)
    assert (scores.argmax(dim=1).numpy() == labels[150:]).mean() > 0.95
    torch.testing.assert_close(scores.exp().sum(dim=1), torch.ones(50, dtype=torch.float64))


@pytest.mark.parametrize("score", [score_by_probe, score_by_readout])
def test_a_logistic_layer_is_reproducible(score: Callable[..., Tensor]) -> None:
    states = torch.randn(60, 8, generator=torch.Generator().manual_seed(0))
    labels = [i % 3 for i in range(60)]
    assert torch.equal(score(states, labels, states, 3, 1.0), score(states, labels, states, 3, 1.0))


def test_a_label_without_examples_is_never_answered() -> None:
    scores = score_by_probe(torch.randn(4, 3), [0, 2, 0, 2], torch.randn(5, 3), 4, 1.0)
    assert scores[:, [1, 3]].eq(-math.inf).all()
    torch.testing.assert_close(scores.exp().sum(dim=1), torch.ones(5, dtype=torch.float64))


def test_one_label_alone_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"4 labelled examples .* label number \[2\] alone; expected two"):
        score_by_readout(torch.randn(4, 3), [2] * 4, torch.randn(1, 3), 3, 1.0)


def test_a_readout_mends_what_a_receiver_says_about_everything() -> None:
    """A receiver that always prefers one label still ranks the texts; the layer finds where the line is."""
    labels = torch.arange(200) % 2
    noise = torch.randn(200, 2, generator=torch.Generator().manual_seed(1))
    scores = F.one_hot(labels, 2) * 2.0 + noise * 0.3 - torch.tensor([40.0, 0.0])
    assert (scores.argmax(dim=1) == 1).all()
    found = score_by_readout(scores[:100], labels[:100].tolist(), scores[100:], 2, 1.0)
    assert (found.argmax(dim=1) == labels[100:]).float().mean() > 0.95


def test_a_readout_is_the_model_of_scikit_learn_on_standardised_columns() -> None:
    rows = torch.randn(80, 3, generator=torch.Generator().manual_seed(2)) * torch.tensor([1.0, 50.0, 0.0])
    labels = [int(row[0] + row[1] / 50 > 0) for row in rows]
    oracle = make_pipeline(StandardScaler(), LogisticRegression(C=0.5, max_iter=2000)).fit(rows.double(), labels)
    found = score_by_readout(rows, labels, rows, 2, 0.5)
    np.testing.assert_allclose(found.numpy(), oracle.predict_log_proba(rows.double()), atol=1e-5)


@pytest.mark.parametrize("score", [score_by_probe, score_by_readout])
def test_an_example_that_counts_twice_is_two_examples(score: Callable[..., Tensor]) -> None:
    points = torch.tensor([[1.0, 0.2], [0.8, -0.1], [0.6, 0.3], [-0.2, 1.0]])
    labels, asked = [0, 0, 0, 1], torch.tensor([[0.3, 0.6], [0.1, 0.2]])
    plain, counted = score(points, labels, asked, 2, 1.0), score(points, labels, asked, 2, 1.0, [1, 1, 1, 3])
    assert (counted[:, 1] > plain[:, 1]).all()


def test_a_balanced_layer_is_the_one_of_scikit_learn() -> None:
    """Ten examples of one label that count thrice, and thirty of another."""
    rows = torch.randn(40, 3, generator=torch.Generator().manual_seed(4))
    labels = [int(row < 10) for row in range(40)]
    repeated = torch.cat([rows, rows[:10], rows[:10]])
    scale = StandardScaler().fit(rows.double())
    oracle = LogisticRegression(max_iter=2000).fit(scale.transform(repeated.double()), labels + [1] * 20)
    found = score_by_readout(rows, labels, rows, 2, 1.0, [3] * 10 + [1] * 30)
    np.testing.assert_allclose(found.numpy(), oracle.predict_log_proba(scale.transform(rows.double())), atol=1e-4)
