from __future__ import annotations

import math
from collections.abc import Callable, Sequence

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
from latentwire.models.baselines import LogisticLayer, score_by_majority


def test_majority_is_the_most_frequent_training_label() -> None:
    scores = score_by_majority([2, 1, 2, 0, 2], classes=3, count=4)
    assert scores.argmax(dim=1).tolist() == [2, 2, 2, 2]
    torch.testing.assert_close(scores.exp().sum(dim=1), torch.ones(4, dtype=torch.float64))


Score = Callable[[LogisticLayer, Tensor, Tensor], Tensor]
BOTH: tuple[Score, Score] = (LogisticLayer.score_by_probe, LogisticLayer.score_by_readout)


def test_a_probe_separates_what_is_separable() -> None:
    points, labels = make_blobs(n_samples=200, centers=[[5, 0, 1], [0, 5, 1], [0, 0, 5]], random_state=0)
    states = torch.from_numpy(points).float()
    scores = LogisticLayer(labels[:150].tolist(), 3, 1.0).score_by_probe(states[:150], states[150:])
    assert (scores.argmax(dim=1).numpy() == labels[150:]).mean() > 0.95
    torch.testing.assert_close(scores.exp().sum(dim=1), torch.ones(50, dtype=torch.float64))


@pytest.mark.parametrize("score", BOTH)
@pytest.mark.parametrize("counts", [(), tuple(1 + row % 4 for row in range(60))])
def test_a_logistic_layer_is_reproducible(counts: Sequence[int], score: Score) -> None:
    states = torch.randn(60, 8, generator=torch.Generator().manual_seed(0))
    layer = LogisticLayer([i % 3 for i in range(60)], 3, 1.0, counts)
    assert torch.equal(score(layer, states, states), score(layer, states, states))


def test_a_label_without_examples_is_never_answered() -> None:
    scores = LogisticLayer([0, 2, 0, 2], 4, 1.0).score_by_probe(torch.randn(4, 3), torch.randn(5, 3))
    assert scores[:, [1, 3]].eq(-math.inf).all()
    torch.testing.assert_close(scores.exp().sum(dim=1), torch.ones(5, dtype=torch.float64))


def test_one_label_alone_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"4 labelled examples .* label number \[2\] alone; expected two"):
        LogisticLayer([2] * 4, 3, 1.0).score_by_readout(torch.randn(4, 3), torch.randn(1, 3))


def test_a_readout_mends_what_a_receiver_says_about_everything() -> None:
    """A receiver that always prefers one label still ranks the texts; the layer finds where the line is."""
    labels = torch.arange(200) % 2
    noise = torch.randn(200, 2, generator=torch.Generator().manual_seed(1))
    scores = F.one_hot(labels, 2) * 2.0 + noise * 0.3 - torch.tensor([40.0, 0.0])
    assert (scores.argmax(dim=1) == 1).all()
    found = LogisticLayer(labels[:100].tolist(), 2, 1.0).score_by_readout(scores[:100], scores[100:])
    assert (found.argmax(dim=1) == labels[100:]).float().mean() > 0.95


def test_a_readout_is_the_model_of_scikit_learn_on_standardised_columns() -> None:
    rows = torch.randn(80, 3, generator=torch.Generator().manual_seed(2)) * torch.tensor([1.0, 50.0, 0.0])
    labels = [int(row[0] + row[1] / 50 > 0) for row in rows]
    oracle = make_pipeline(StandardScaler(), LogisticRegression(C=0.5, max_iter=2000)).fit(rows.double(), labels)
    found = LogisticLayer(labels, 2, 0.5).score_by_readout(rows, rows)
    np.testing.assert_allclose(found.numpy(), oracle.predict_log_proba(rows.double()), atol=1e-5)
