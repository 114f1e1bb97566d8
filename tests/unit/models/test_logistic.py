"""How often an example counts for a logistic layer: as a training draws it, or once, whichever is better."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.model_selection import PredefinedSplit, cross_val_predict

from latentwire.models.logistic import FOLDS, LabelledRows, Matrix, choose_weights, score_by_logistic

RARE, COMMON = 12, 388
TOTAL = RARE + COMMON


def rows_of(apart: float, counts_of_rare: int, seed: int = 0) -> LabelledRows:
    """A rare label and a common one in two columns, whose centres are `apart` standard deviations from each other."""
    dice = np.random.default_rng(seed)
    labels = dice.permutation(np.repeat([1, 0], [RARE, COMMON]))
    rows = dice.normal(size=(TOTAL, 2)) + apart * labels[:, None]
    return LabelledRows(rows, labels, [counts_of_rare if label else 1 for label in labels])


def macro_f1_by_scikit_learn(known: LabelledRows, weights: Matrix | None) -> float:
    folds = PredefinedSplit(np.arange(TOTAL) % FOLDS)
    given = None if weights is None else {"sample_weight": weights}
    answers = cross_val_predict(
        LogisticRegression(max_iter=2000), known.rows, known.labels, cv=folds, params=given, method="predict"
    )
    return float(f1_score(known.labels, answers, average="macro"))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("apart", "counts"), [(1.0, 30), (3.0, 5), (3.0, 60)])
def test_the_better_one_by_the_cross_validation_of_scikit_learn(apart: float, counts: int, seed: int) -> None:
    known = rows_of(apart, counts, seed)
    drawn, once = (macro_f1_by_scikit_learn(known, w) for w in (np.asarray(known.counts, dtype=float), None))
    assert (choose_weights(known, 1.0) is None) == (once > drawn)


def test_both_are_chosen_somewhere() -> None:
    """Some weight finds rare examples that hide among others; too much of it calls every second example rare."""
    chosen = [choose_weights(rows_of(1.5, counts), 1.0) is None for counts in (2, 400)]
    assert chosen == [False, True]


def test_what_is_chosen_is_what_learns() -> None:
    known = rows_of(1.5, 2)
    weights = choose_weights(known, 1.0)
    assert weights is not None
    oracle = LogisticRegression(max_iter=2000).fit(known.rows, known.labels, weights)
    np.testing.assert_array_equal(score_by_logistic(known, known.rows, 2, 1.0), oracle.predict_log_proba(known.rows))


@pytest.mark.parametrize("counts", [(), [1] * TOTAL])
def test_nothing_is_chosen_where_all_count_once(counts: list[int]) -> None:
    known = rows_of(1.0, 1)
    assert choose_weights(LabelledRows(known.rows, known.labels, counts), 1.0) is None


@pytest.mark.parametrize("labels", [[0, 1], [0, 0, 1], [0, 1, 1, 1], [2, 0, 0, 0, 0, 0]])
def test_few_examples_and_folds_of_which_the_rest_has_one_label(labels: list[int]) -> None:
    rows = np.arange(len(labels), dtype=float)[:, None]
    known = LabelledRows(rows, np.asarray(labels), [2] * len(labels))
    scores = score_by_logistic(known, rows, 3, 1.0)
    np.testing.assert_allclose(np.exp(scores).sum(axis=1), 1.0)
