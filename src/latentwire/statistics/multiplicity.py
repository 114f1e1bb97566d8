"""Corrections for several comparisons; a family is declared before the results, never chosen after them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from scipy import stats

from latentwire.errors import ConfigurationError


def holm_adjust(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's step-down p-values; a missing one stays missing and is not counted as a hypothesis."""
    return _present(p_values, _holm)


def benjamini_hochberg(p_values: Sequence[float | None]) -> list[float | None]:
    """Benjamini–Hochberg p-values, for screening only; a missing one stays missing and is not counted."""
    return _present(p_values, lambda p: stats.false_discovery_control(p, method="bh"))


def adjust_p_values(p_values: Mapping[str, float | None], method: str) -> dict[str, float | None]:
    """Adjusted p-values of one family by name of the correction.

    Raises:
        ConfigurationError: No such correction; a caption must never claim one that was not run.
    """
    corrections = {"holm": holm_adjust, "bh": benjamini_hochberg}
    if method not in corrections:
        raise ConfigurationError(
            f"The correction {method!r} was asked for, expected one of {', '.join(corrections)}. "
            "Next: set aggregate.adjust in params.yaml."
        )
    return dict(zip(p_values, corrections[method](list(p_values.values())), strict=True))


def _holm(p: np.ndarray) -> np.ndarray:
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted


def _present(p_values: Sequence[float | None], correct: Callable[[np.ndarray], np.ndarray]) -> list[float | None]:
    present = [i for i, p in enumerate(p_values) if p is not None and not np.isnan(p)]
    result: list[float | None] = [None] * len(p_values)
    if present:
        corrected = correct(np.array([p_values[i] for i in present], dtype=float))
        for i, p in zip(present, corrected, strict=True):
            result[i] = float(p)
    return result
