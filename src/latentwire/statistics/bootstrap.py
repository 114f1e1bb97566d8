"""The crossed ("pigeonhole") bootstrap: seeds and examples are both resampled, by weights.

One set of weights serves all methods, so that differences, ratios and ranks of them stay paired. Where the rows of
the (example × run) matrix repeat, as right and wrong answers do, one multinomial over the patterns gives the same
distribution at a cost that does not grow with the examples.

Shapes: R resamples, N examples, S seeds, K columns.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from latentwire.errors import EvidenceError
from latentwire.statistics.scores import Matrix, Resampled, Scores

FEWEST_REPEATS = 4
"""From this many examples per pattern on, patterns are drawn instead of examples."""
WEIGHTS_AT_ONCE = 1_500_000
"""Weights held in memory at a time; about 40 bytes each with their indices."""
EXAMPLES, SEEDS = 0, 1
"""Streams of the generator: the draws for examples do not depend on how many seeds there are."""


@dataclass(frozen=True)
class BootstrapPlan:
    """How many resamples, from which seed of the generator; both are settings, so that numbers can be reproduced."""

    resamples: int
    seed: int

    def __post_init__(self) -> None:
        if self.resamples < 100:
            raise EvidenceError(
                f"A bootstrap of {self.resamples} resamples was asked for, expected at least 100: its ends would be "
                "those of a few draws. Next: raise aggregate.resamples in params.yaml."
            )


def resample_examples(columns: Matrix, plan: BootstrapPlan) -> Matrix:
    """Means [R, K] of `columns` [N, K] over resampled examples; all columns share the weights."""
    rng = np.random.default_rng([plan.seed, EXAMPLES])
    patterns, counts = _patterns(columns)
    if len(counts) * FEWEST_REPEATS <= len(columns):
        drawn = rng.multinomial(len(columns), counts / len(columns), size=plan.resamples)
        return np.asarray(drawn @ patterns / len(columns))
    return _by_weights(columns, plan.resamples, rng)


def resample_crossed(methods: Sequence[Scores], plan: BootstrapPlan) -> list[Matrix]:
    """Resampled means [R] of every method, over the same draws of examples and, where they correspond, of seeds.

    A metric that is no mean over examples was resampled when it was computed (`measures.py`), with one set of draws.
    """
    drawn = [method.resampled.draws for method in methods if method.resampled is not None]
    if len(drawn) == len(methods):
        return drawn
    stacked = np.concatenate([method.values for method in methods]).T
    means = resample_examples(stacked, plan)
    ends = np.cumsum([len(method.values) for method in methods])
    return [
        resample_seeds(means[:, end - len(method.values) : end], method.seeds, plan)
        for method, end in zip(methods, ends, strict=True)
    ]


def resample_seeds(means: Matrix, seeds: tuple[int, ...] | None, plan: BootstrapPlan) -> Matrix:
    """Mean [R] of `means` [R, S] over resampled seeds; the same seeds get the same weights."""
    count = means.shape[1]
    if count == 1:
        return means[:, 0]
    rng = np.random.default_rng([plan.seed, SEEDS, *(seeds or range(count))])
    drawn = rng.multinomial(count, np.full(count, 1 / count), size=len(means)) / count
    # The spread of S drawn seeds is too small by (S − 1) / S: the weights are moved away from 1 / S by its root.
    weights = 1 / count + (drawn - 1 / count) * math.sqrt(count / (count - 1))
    return np.asarray((means * weights).sum(axis=1))


def match_seeds(a: Scores, b: Scores, plan: BootstrapPlan) -> tuple[Scores, Scores]:
    """Both on the seeds that both have; as they are where one has no seeds, or they share none.

    A method with one training is so compared with one training of another: neither counts more often than the other,
    and the interval is over examples alone.
    """
    shared = [seed for seed in a.seeds or () if seed in (b.seeds or ())]
    return (_on_seeds(a, shared, plan), _on_seeds(b, shared, plan)) if shared else (a, b)


def _on_seeds(scores: Scores, chosen: Sequence[int], plan: BootstrapPlan) -> Scores:
    seeds = scores.seeds or ()
    if list(seeds) == list(chosen):
        return scores
    rows, resampled = [seeds.index(seed) for seed in chosen], scores.resampled
    if resampled is not None and resampled.by_seed is not None:
        by_seed = resampled.by_seed[:, rows]
        resampled = Resampled(resample_seeds(by_seed, tuple(chosen), plan), resampled.classes, by_seed)
    return replace(scores, values=scores.values[rows], seeds=tuple(chosen), resampled=resampled)


def percentile_interval(draws: Matrix, confidence: float) -> tuple[float, float]:
    """The middle `confidence` of the draws; both ends are draws, so that ranks stay ranks."""
    low, high = np.quantile(draws, [0.5 - confidence / 2, 0.5 + confidence / 2], method="inverted_cdf")
    return float(low), float(high)


def _patterns(columns: Matrix) -> tuple[Matrix, NDArray[np.int_]]:
    """Distinct rows of [N, K] and how often each occurs; rows of zeros and ones are told apart by their bits."""
    if columns.shape[1] > 52 or not np.isin(columns, (0.0, 1.0)).all():
        patterns, counts = np.unique(columns, axis=0, return_counts=True)
        return patterns, counts
    codes = columns @ 2.0 ** np.arange(columns.shape[1])
    _, first, counts = np.unique(codes, return_index=True, return_counts=True)
    return columns[first], counts


def _by_weights(columns: Matrix, resamples: int, rng: np.random.Generator) -> Matrix:
    return np.concatenate([weights @ columns / len(columns) for weights in _weights(len(columns), resamples, rng)])


def draw_weights(examples: int, plan: BootstrapPlan) -> Iterator[Matrix]:
    """How often each example is drawn, as parts [rows, N] of [R, N]; every caller gets the same draws."""
    return _weights(examples, plan.resamples, np.random.default_rng([plan.seed, EXAMPLES]))


def _weights(examples: int, resamples: int, rng: np.random.Generator) -> Iterator[Matrix]:
    rows = max(1, WEIGHTS_AT_ONCE // examples)
    offsets = np.arange(rows, dtype=np.int64)[:, None] * examples
    for start in range(0, resamples, rows):
        size = min(rows, resamples - start)
        drawn = rng.integers(0, examples, size=(size, examples), dtype=np.int32) + offsets[:size]
        yield np.bincount(drawn.ravel(), minlength=size * examples).reshape(size, examples).astype(np.float64)
