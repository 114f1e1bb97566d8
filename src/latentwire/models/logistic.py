"""Multinomial logistic layers on rows of numbers, as baselines use them.

Shapes: n labelled examples, N examples, K columns, C labels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score

from latentwire.errors import ConfigurationError

Matrix = NDArray[np.float64]
Weights = NDArray[np.float64] | None
FOLDS = 5


@dataclass(frozen=True)
class LabelledRows:
    """What a logistic layer learns from."""

    rows: Matrix
    """[n, K]."""
    labels: NDArray[np.int64]
    """[n], below C."""
    counts: Sequence[int] = ()
    """[n] how often a training draws each; once without any."""

    def select(self, chosen: NDArray[np.bool_]) -> LabelledRows:
        """Those at which `chosen` [n] is true."""
        counts = [count for count, kept in zip(self.counts, chosen, strict=True) if kept] if self.counts else ()
        return LabelledRows(self.rows[chosen], self.labels[chosen], counts)


def score_by_logistic(known: LabelledRows, asked: Matrix, classes: int, inverse_regularisation: float) -> Matrix:
    """Log-probabilities [N, C] for the rows `asked` [N, K]; a label that no example has gets −∞.

    The examples count as often as a training draws them, or once each: whichever has the higher macro-F1 in
    cross-validation on the examples themselves, so that balanced draws, which a language model needs, are not forced
    on a layer that does better without.

    Args:
        known: Examples to learn from.
        asked: Rows of others.
        classes: C.
        inverse_regularisation: Of the L2 penalty.

    Raises:
        ConfigurationError: All examples have one label.
    """
    present = np.unique(known.labels)
    if len(present) < 2:
        raise ConfigurationError(
            f"The {len(known.labels)} labelled examples of a logistic layer have the label number {present.tolist()} "
            "alone; expected two labels or more. Next: raise train.steps or train.batch in params.yaml."
        )
    fitted = _fit(known, choose_weights(known, inverse_regularisation), inverse_regularisation)
    scores = np.full((len(asked), classes), -math.inf)
    scores[:, present] = fitted.predict_log_proba(asked)
    return scores


def choose_weights(known: LabelledRows, inverse_regularisation: float) -> Weights:
    """`known.counts`, or None for once each: the better one in cross-validation of FOLDS; the counts if both are equal.

    Example i is in fold i mod FOLDS; examples stand in the order of their draws, which is random.
    """
    if not known.counts or max(known.counts) == 1:
        return None
    counts = np.asarray(known.counts, dtype=np.float64)
    drawn, once = (_cross_validate(known, weights, inverse_regularisation) for weights in (counts, None))
    return counts if drawn >= once else None


def _cross_validate(known: LabelledRows, weights: Weights, inverse_regularisation: float) -> float:
    """Macro-F1 of what each fold is answered by a layer that learned from the others."""
    folds = np.arange(len(known.labels)) % FOLDS
    answers = np.empty_like(known.labels)
    for number in range(min(FOLDS, len(folds))):
        own = folds == number
        others, kept = known.select(~own), None if weights is None else weights[~own]
        answers[own] = _answer(others, kept, known.rows[own], inverse_regularisation)
    return float(f1_score(known.labels, answers, average="macro"))


def _answer(known: LabelledRows, weights: Weights, asked: Matrix, inverse_regularisation: float) -> NDArray[np.int64]:
    """Labels [N]; where all examples have one label, that one."""
    if len(set(known.labels.tolist())) == 1:
        return np.repeat(known.labels[:1], len(asked))
    answers: NDArray[np.int64] = _fit(known, weights, inverse_regularisation).predict(asked)
    return answers


def _fit(known: LabelledRows, weights: Weights, inverse_regularisation: float) -> LogisticRegression:
    return LogisticRegression(C=inverse_regularisation, max_iter=2000).fit(known.rows, known.labels, weights)
