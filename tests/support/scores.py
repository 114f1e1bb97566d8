"""Scores of a method, made up."""

from __future__ import annotations

import numpy as np

from latentwire.statistics.scores import Matrix, Scores


def scores(name: str, values: Matrix, seeds: bool = True) -> Scores:
    """Scores `values`, (seeds, examples)."""
    examples = tuple(f"e{i:03d}" for i in range(values.shape[1]))
    return Scores(name, values, examples, tuple(range(len(values))) if seeds else None)


def untrained_scores(name: str, *, right: int, count: int) -> Scores:
    """One row, of which the first `right` are right."""
    return scores(name, (np.arange(count) < right).astype(float)[None], seeds=False)
