"""Scores of one method as a (seed × example) matrix, and the pairing of two of them.

Seeds and examples are crossed: every seed is scored on the same examples. Nothing here takes a flat vector and an n,
so that seeds cannot be pooled with examples as if they were independent.

Shapes: S seeds, N examples.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from latentwire.errors import EvidenceError

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class Resampled:
    """What a metric needs that is no mean over examples: its own `draws` [R], and the class of each example [N].

    `by_seed` [R, S] are those of every seed, from which those of some seeds are made; None of a difference.
    """

    draws: Matrix
    classes: Matrix
    by_seed: Matrix | None = None


@dataclass(frozen=True)
class Scores:
    """Scores `values` [S, N] of one method on one task; a deterministic method has one row and no seeds.

    The mean of a row is the metric of that seed. Where the metric is no mean over examples, `values` are its linear
    parts (`metrics.py`) and `resampled` has its variance.
    """

    name: str
    values: Matrix
    examples: tuple[str, ...]
    seeds: tuple[int, ...] | None
    resampled: Resampled | None = None

    def __post_init__(self) -> None:
        rows = 1 if self.seeds is None else len(self.seeds)
        if self.values.shape != (rows, len(self.examples)):
            raise EvidenceError(
                f"{self.name} has scores of shape {self.values.shape}, expected {rows} seeds × "
                f"{len(self.examples)} examples. Next: compute its predictions again."
            )
        _check_unique(self.name, "example", self.examples)
        _check_unique(self.name, "seed", self.seeds or ())
        if not np.isfinite(self.values).all():
            raise EvidenceError(
                f"{self.name} has {int((~np.isfinite(self.values)).sum())} scores that are not numbers, expected "
                "none. Next: compute its predictions again; a failed generation is a wrong answer, not a gap."
            )

    @property
    def paired(self) -> Paired:
        """The scores themselves, as a difference from nothing."""
        return Paired(self.values, resampled=self.resampled)

    @property
    def ids(self) -> str:
        """Digest of the examples in their order."""
        return digest_items(self.examples)


@dataclass(frozen=True)
class Paired:
    """Differences A − weight·B on the same examples.

    `values` is [S, N]. Where A and B have seeds that do not correspond, B enters as its mean over seeds and its own
    matrix is kept in `subtrahend`, because its seed variance has to be added. `resampled` is that of the difference.
    """

    values: Matrix
    subtrahend: Matrix | None = None
    resampled: Resampled | None = None


def pair_scores(a: Scores, b: Scores, weight: float = 1.0) -> Paired:
    """Pair A − weight·B by example, and by seed where both have the same seeds.

    Raises:
        EvidenceError: The examples of the two differ.
    """
    _check_same_examples(a, b)
    scaled, resampled = weight * b.values, _subtract(a.resampled, b.resampled, weight)
    if a.seeds == b.seeds or 1 in (len(scaled), len(a.values)):
        return Paired(a.values - scaled, resampled=resampled)
    return Paired(a.values - scaled.mean(axis=0), scaled, resampled)


def _subtract(a: Resampled | None, b: Resampled | None, weight: float) -> Resampled | None:
    """The draws of a difference; both sides share the examples that were drawn."""
    return Resampled(a.draws - weight * b.draws, a.classes) if a is not None and b is not None else None


def digest_items(items: Sequence[str]) -> str:
    """SHA-256 over the items, one a line."""
    return hashlib.sha256("\n".join(items).encode()).hexdigest()


def _check_unique(name: str, what: str, items: Sequence[object]) -> None:
    repeated = [str(item) for item, count in Counter(items).items() if count > 1]
    if repeated:
        raise EvidenceError(
            f"{name} has {what} {repeated[0]} more than once, expected each {what} once; a run counted twice would "
            "look like a replication. Next: remove the second file, then `dvc repro aggregate`."
        )


def _check_same_examples(a: Scores, b: Scores) -> None:
    if a.examples == b.examples:
        return
    only_a, only_b = set(a.examples) - set(b.examples), set(b.examples) - set(a.examples)
    detail = (
        f"{len(only_a)} only in {a.name}, {len(only_b)} only in {b.name}" if only_a | only_b else "in another order"
    )
    raise EvidenceError(
        f"{a.name} and {b.name} were scored on different examples ({detail}; ids {a.ids[:8]} and {b.ids[:8]}), "
        "expected the same ones. Next: `dvc repro`, so that both are scored on one test split."
    )
