"""How far a number may move when the same procedure runs again on the same examples.

Shapes: S seeds, N examples.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, variance
from typing import Any

from scipy import stats

Record = Mapping[str, Any]


@dataclass(frozen=True)
class Measured:
    """A number of one run, with the variance that another run on the same examples would have."""

    value: float
    noise: float | None
    """Variance of the number over runs, its examples held fixed or, where that is not known, drawn anew."""
    degrees: float
    """Degrees of freedom of `noise`."""
    seeds: int
    examples: int | None = None
    """Number of examples, where the number is a mean over them of scores from 0 to 1."""
    whole: float = 0.0
    """Variance over seeds and examples, for the case that no seed differs from another."""
    by_seeds: bool = False
    """Whether `noise` is what seeds add, which can be compared between two runs."""
    unknown: str = ""
    """Why `noise` is None."""


def measure_entry(entry: Record, trained: bool, confidence: float) -> Measured:
    """A number with an interval, as `stats.json` holds it.

    Args:
        entry: `value` with `S`, `N`, and either `variance` and its `shares`, or `low`, `high` and `df`.
        trained: Whether another training could have given another number.
        confidence: Coverage of the interval.
    """
    value, seeds, examples = float(entry["value"]), int(entry["S"]), int(entry["N"])
    whole = _variance(entry, confidence)
    if trained and seeds == 1:
        return Measured(value, None, 0, seeds, unknown="it has one seed, so that the noise of training is not known")
    if whole is None or not math.isfinite(value) or not math.isfinite(whole):
        return Measured(value, None, 0, seeds, unknown="no uncertainty is stored with it")
    rated = examples if "variance" in entry else None
    if seeds == 1:
        return Measured(value, whole, examples - 1, seeds, rated, whole)
    return Measured(value, whole * _moving_share(entry), seeds - 1, seeds, rated, whole, rated is not None)


def measure_seeds(values: Sequence[float]) -> Measured:
    """The mean of a number that every seed has once."""
    if not all(map(math.isfinite, values)):
        return Measured(math.nan, None, 0, len(values), unknown="a seed has no finite number")
    if len(values) == 1:
        return Measured(values[0], None, 0, 1, unknown="it has one seed, so that the noise of training is not known")
    return Measured(fmean(values), variance(values) / len(values), len(values) - 1, len(values), by_seeds=True)


def _variance(entry: Record, confidence: float) -> float | None:
    if "variance" in entry:
        return None if entry["variance"] is None else float(entry["variance"])
    if entry.get("low") is None or entry.get("high") is None:
        return None
    # An interval is cut off where the scale ends, on one side at most unless it says nothing: the other side is whole.
    half = max(entry["high"] - entry["value"], entry["value"] - entry["low"])
    df = math.inf if entry.get("df") is None else entry["df"]
    return float(half / stats.t.ppf(0.5 + confidence / 2, df)) ** 2


def _moving_share(entry: Record) -> float:
    """Share of the variance that is not the examples', which two runs on the same examples have in common."""
    if "variance" not in entry:
        return 1.0  # how it divides was not stored: as if the examples were others, too
    shares = entry.get("shares")
    return 0.0 if shares is None else float(shares["seeds"] + shares["residual"])
