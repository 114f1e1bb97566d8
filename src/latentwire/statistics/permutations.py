"""Do answers say more about their examples than the same answers in another order?

The chance level of a control is not the majority class: answers that follow the classes' frequencies are right in
Σ_c p(answered c) · p(c) of the cases, whatever they say about an example. The test permutes the answers over the
examples (Fisher's randomisation test; Phipson & Smyth 2010 for p = (count + 1) / (resamples + 1)). Mean and variance
of the share over all permutations are those of Hoeffding's combinatorial central limit theorem (1951).

Shapes: S seeds, N examples, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from latentwire.statistics.scores import Matrix

AT_ONCE = 500_000
"""Positions drawn at a time."""


@dataclass(frozen=True)
class PermutedShare:
    """The share of right answers, what permuted answers give on average, their standard deviation, and p above."""

    share: float
    expected: float
    error: float
    p: float


def permute_answers(answers: Matrix, golds: Sequence[int], resamples: int, seed: int) -> PermutedShare:
    """One-sided test of the answers [S, N] against themselves in another order; seeds are permuted together.

    Args:
        answers: Number of the class that every seed answers.
        golds: Number of the right class of every example.
        resamples: Permutations drawn.
        seed: Of their generator.
    """
    golds_array = np.asarray(golds)
    classes, of = np.unique(golds_array, return_inverse=True)
    hits = np.stack([(answers == label).mean(axis=0) for label in classes])
    expected, error = _moments(hits, np.bincount(of))
    share = float(hits[of, np.arange(len(of))].mean())
    # Sums of thirds differ in the last bits with their order: as large means as large but for those.
    reached = int((_permuted_shares(hits, of, resamples, seed) >= share - 1e-9).sum())
    return PermutedShare(share, expected, error, (reached + 1) / (resamples + 1))


def _moments(hits: Matrix, counts: NDArray[np.int64]) -> tuple[float, float]:
    """Mean and standard deviation of the share of right answers over all permutations.

    Args:
        hits: [C, N], the share of seeds that answer class c on example n.
        counts: [C], examples of every class.
    """
    examples = hits.shape[1]
    weights = counts / examples
    over_classes = weights @ hits
    if (hits == hits[:, :1]).all():
        return float(over_classes.mean()), 0.0
    centred = hits - hits.mean(axis=1, keepdims=True) - over_classes + over_classes.mean()
    variance = float((counts @ centred**2).sum()) / (examples**2 * (examples - 1))
    return float(over_classes.mean()), variance**0.5


def _permuted_shares(hits: Matrix, of: NDArray[np.int64], resamples: int, seed: int) -> NDArray[np.float64]:
    rows = max(1, AT_ONCE // len(of))
    sizes = [min(rows, resamples - start) for start in range(0, resamples, rows)]
    orders = (_draw_orders(seed, number, size, len(of)) for number, size in enumerate(sizes))
    return np.concatenate([hits[of, order].mean(axis=1) for order in orders])


@lru_cache(maxsize=16)  # the controls of a task are as long and share their orders: 2 MB each
def _draw_orders(seed: int, number: int, size: int, examples: int) -> NDArray[np.uint32]:
    order = np.tile(np.arange(examples, dtype=np.uint32), (size, 1))
    drawn = np.random.default_rng([seed, number]).permuted(order, axis=1, out=order)
    drawn.flags.writeable = False
    return drawn
