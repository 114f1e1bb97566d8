"""What the wire is compared with and needs no training run: majority, probe, text, truncated text.

Shapes: N examples, D_s sender width, C labels.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor
from torch.nn import functional as F


def score_by_majority(labels: Sequence[int], classes: int, count: int) -> Tensor:
    """Log-frequency [count, C] of every label among the training labels: the same for every example."""
    counted = Counter(labels)
    frequencies = [counted[label] / len(labels) for label in range(classes)]
    # Not `torch.log`, which MKL computes in float64 from approximations that every vendor makes with other bits.
    logs = [math.log(frequency) if frequency else -math.inf for frequency in frequencies]
    return torch.tensor(logs, dtype=torch.float64).expand(count, classes)


def score_by_probe(train: Tensor, labels: Sequence[int], test: Tensor, inverse_regularisation: float) -> Tensor:
    """Log-probabilities [N, C] of a multinomial logistic regression on L2-normalised mean states [N, D_s].

    Raises:
        ValueError: A label has no training example.
    """
    classes = sorted(set(labels))
    if classes != list(range(len(classes))):
        raise ValueError(f"a probe needs examples of every label, found those of {classes}")
    # Normalised rows have small entries; without the factor, C would regularise far more than on raw states.
    scale = float(np.sqrt(train.shape[1]))
    fitted = LogisticRegression(C=inverse_regularisation, max_iter=2000)
    fitted.fit((F.normalize(train.double(), dim=1) * scale).numpy(), np.asarray(labels))
    return torch.from_numpy(fitted.predict_log_proba((F.normalize(test.double(), dim=1) * scale).numpy()))
