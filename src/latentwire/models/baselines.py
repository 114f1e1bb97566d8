"""What the wire is compared with and needs no training run: majority, and logistic layers on what others computed.

Shapes: n labelled examples, N examples, D_s sender width, K columns, C labels.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from torch import Tensor
from torch.nn import functional as F

from latentwire.errors import ConfigurationError

Matrix = NDArray[np.float64]


def score_by_majority(labels: Sequence[int], classes: int, count: int) -> Tensor:
    """Log-frequency [count, C] of every label among the training labels: the same for every example."""
    counted = Counter(labels)
    frequencies = [counted[label] / len(labels) for label in range(classes)]
    # Not `torch.log`, which MKL computes in float64 from approximations that every vendor makes with other bits.
    logs = [math.log(frequency) if frequency else -math.inf for frequency in frequencies]
    return torch.tensor(logs, dtype=torch.float64).expand(count, classes)


def score_by_probe(
    train: Tensor,
    labels: Sequence[int],
    test: Tensor,
    classes: int,
    inverse_regularisation: float,
    counts: Sequence[int] = (),
) -> Tensor:
    """Log-probabilities [N, C] of a multinomial logistic regression on L2-normalised mean states [N, D_s].

    `counts` is that of `score_by_readout`.
    """
    # Normalised rows have small entries; without the factor, C would regularise far more than on raw states.
    scale = float(np.sqrt(train.shape[1]))
    given, asked = ((F.normalize(part.cpu().double(), dim=1) * scale).numpy() for part in (train, test))
    return torch.from_numpy(_fit_logistic(given, asked, labels, classes, inverse_regularisation, counts)).to(
        test.device
    )


def score_by_readout(
    train: Tensor,
    labels: Sequence[int],
    test: Tensor,
    classes: int,
    inverse_regularisation: float,
    counts: Sequence[int] = (),
) -> Tensor:
    """Log-probabilities [N, C] of a multinomial logistic regression on standardised columns.

    Args:
        train: Rows [n, K] of the labelled examples: a receiver's own label scores, or the numbers of a wire.
        labels: [n] their labels.
        test: Rows [N, K].
        classes: C.
        inverse_regularisation: Of the L2 penalty; the columns have mean 0 and standard deviation 1 in `train`.
        counts: [n] how often each counts, as often as a training draws it; once without any.
    """
    given, asked = (part.cpu().double().numpy() for part in (train, test))
    centre, spread = given.mean(axis=0), given.std(axis=0)
    # A column that never varies says nothing; it stays at 0.
    divisor = np.where(spread > 0, spread, 1.0)
    given, asked = (given - centre) / divisor, (asked - centre) / divisor
    return torch.from_numpy(_fit_logistic(given, asked, labels, classes, inverse_regularisation, counts)).to(
        test.device
    )


def _fit_logistic(
    train: Matrix,
    test: Matrix,
    labels: Sequence[int],
    classes: int,
    inverse_regularisation: float,
    counts: Sequence[int],
) -> Matrix:
    """Log-probabilities [N, C]; a label that no example has gets −∞.

    Raises:
        ConfigurationError: All examples have one label.
    """
    known = sorted(set(labels))
    if len(known) < 2:
        raise ConfigurationError(
            f"The {len(labels)} labelled examples of a logistic layer have the label number {known} alone; expected "
            "two labels or more. Next: raise train.steps or train.batch in params.yaml."
        )
    weights = np.asarray(counts, dtype=np.float64) if counts else None
    fitted = LogisticRegression(C=inverse_regularisation, max_iter=2000).fit(train, np.asarray(labels), weights)
    scores = np.full((len(test), classes), -math.inf)
    scores[:, known] = fitted.predict_log_proba(test)
    return scores
