"""Accuracy, balanced accuracy and macro-F1 of single-label answers, and their linear parts.

All are computed from three counts per class c: answers that are right, answers that should be c, answers that say c.
Macro-F1 and balanced accuracy are means over the classes that have an example in the test split: a class without one
cannot be measured, and a class that is only said costs the others. Within a draw of the bootstrap it is the classes
of that draw. A class with an example has no 0 / 0: never said, its recall and F1 are 0.

Sources: balanced accuracy, Brodersen et al., ICPR 2010; macro-F1 as the mean of the F1 of the classes, not the F1 of
mean precision and recall (Opitz & Burst, arXiv 1911.03347). The same as scikit-learn's `balanced_accuracy_score` and
`f1_score(average="macro", labels=<classes of the test split>, zero_division=0)`.

Shapes: S seeds, N examples, K classes, R resamples.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import get_args

import numpy as np

from latentwire.params.sections import MetricName
from latentwire.statistics.scores import Matrix

METRICS: tuple[str, ...] = get_args(MetricName)
ACCURACY = "accuracy"
"""The one that is a mean over examples."""

Metric = Callable[[Matrix, Matrix, Matrix], Matrix]
"""Right, wanted and said answers [..., K], as counts or shares → the metric [...]."""


def balanced_accuracy(right: Matrix, wanted: Matrix, said: Matrix) -> Matrix:
    """Mean of the recall of the classes; what was `said` changes nothing that `right` does not."""
    del said
    return _mean_over_present(right / _positive(wanted), wanted)


def macro_f1(right: Matrix, wanted: Matrix, said: Matrix) -> Matrix:
    """Mean over classes of F1 = 2 · right / (wanted + said)."""
    return _mean_over_present(2 * right / _positive(wanted + said), wanted)


def linear_balanced_accuracy(right: Matrix, wanted: Matrix, said: Matrix) -> Matrix:
    """Linear parts [N] of the metric of one seed, from its indicators [N, K]; their mean is the metric itself.

    What an example adds to first order in its weight (the influence function): for the ratio of means r / w of a class
    it is (r_i − r / w · w_i) / w.
    """
    del said
    return _linear(right, wanted, wanted)


def linear_macro_f1(right: Matrix, wanted: Matrix, said: Matrix) -> Matrix:
    """As `linear_balanced_accuracy`, for the ratio 2 · right / (wanted + said)."""
    return _linear(2 * right, wanted + said, wanted)


RESAMPLED: Mapping[str, tuple[Metric, Metric]] = {
    "macro_f1": (macro_f1, linear_macro_f1),
    "balanced_accuracy": (balanced_accuracy, linear_balanced_accuracy),
}
"""Metrics that are no mean over examples: how they follow from shares, and their linear parts."""


def indicate_classes(numbers: Matrix, classes: int) -> Matrix:
    """Numbers of classes [..., N] → indicators [..., N, K]."""
    return np.asarray(numbers[..., None] == np.arange(classes), dtype=float)


def _positive(counts: Matrix) -> Matrix:
    """Counts by which one may divide; where there are none, the result is left out of the mean."""
    return np.where(counts > 0, counts, 1.0)


def _mean_over_present(by_class: Matrix, wanted: Matrix) -> Matrix:
    present = wanted > 0
    return np.asarray(np.where(present, by_class, 0.0).sum(axis=-1) / present.sum(axis=-1))


def _linear(above: Matrix, below: Matrix, wanted: Matrix) -> Matrix:
    present = wanted.any(axis=0)
    mean = _positive(below.mean(axis=0))
    ratio = above.mean(axis=0) / mean
    parts = ratio + (above - ratio * below) / mean
    return np.asarray(parts[:, present].mean(axis=1))
