"""What the wire is compared with and needs no training run: majority, and logistic layers on what others computed.

Shapes: n labelled examples, N examples, D_s sender width, K columns, C labels.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from latentwire.models.logistic import LabelledRows, Matrix, score_by_logistic
from latentwire.tasks.labelled import Labelled


@dataclass(frozen=True)
class LogisticLayer:
    """How a logistic layer learns, and what it learns from."""

    labels: Sequence[int]
    """[n] of the labelled examples."""
    classes: int
    """C."""
    inverse_regularisation: float
    """Of the L2 penalty."""
    counts: Sequence[int] = ()
    """[n] how often a training draws each example; once without any."""

    @classmethod
    def of(cls, labelled: Labelled, classes: int, inverse_regularisation: float) -> LogisticLayer:
        """One that learns from what a training draws."""
        return cls(labelled.golds, classes, inverse_regularisation, labelled.counts)

    def score_by_probe(self, train: Tensor, test: Tensor) -> Tensor:
        """Log-probabilities [N, C] from L2-normalised mean states: `train` [n, D_s], `test` [N, D_s].

        Raises:
            ConfigurationError: All examples have one label.
        """
        # Normalised rows have small entries; without the factor, C would regularise far more than on raw states.
        scale = float(np.sqrt(train.shape[1]))
        given, asked = ((F.normalize(part.cpu().double(), dim=1) * scale).numpy() for part in (train, test))
        return self._score(given, asked, test)

    def score_by_readout(self, train: Tensor, test: Tensor) -> Tensor:
        """Log-probabilities [N, C] from standardised columns: `train` [n, K], `test` [N, K].

        They are a receiver's own label scores, or the numbers of a wire; in `train` they get mean 0 and standard
        deviation 1.

        Raises:
            ConfigurationError: All examples have one label.
        """
        given, asked = (part.cpu().double().numpy() for part in (train, test))
        centre, spread = given.mean(axis=0), given.std(axis=0)
        # A column that never varies says nothing; it stays at 0.
        divisor = np.where(spread > 0, spread, 1.0)
        return self._score((given - centre) / divisor, (asked - centre) / divisor, test)

    def _score(self, given: Matrix, asked: Matrix, like: Tensor) -> Tensor:
        known = LabelledRows(given, np.asarray(self.labels), self.counts)
        scores = score_by_logistic(known, asked, self.classes, self.inverse_regularisation)
        return torch.from_numpy(scores).to(like.device)


def score_by_majority(labels: Sequence[int], classes: int, count: int) -> Tensor:
    """Log-frequency [count, C] of every label among the training labels: the same for every example."""
    counted = Counter(labels)
    frequencies = [counted[label] / len(labels) for label in range(classes)]
    # Not `torch.log`, which MKL computes in float64 from approximations that every vendor makes with other bits.
    logs = [math.log(frequency) if frequency else -math.inf for frequency in frequencies]
    return torch.tensor(logs, dtype=torch.float64).expand(count, classes)
