"""Numbers as plain text: with a real minus, and never one that is not a number."""

from __future__ import annotations

import math
from collections.abc import Sequence

from latentwire.reporting.document import Math, Strong, Text

MISSING = "–"
"""A cell without a number: an empty one would look like an oversight."""
PERCENT = "\u202f%"


def capitalize(words: str) -> str:
    """The words with a capital at their beginning, and no other letter changed."""
    return words[:1].upper() + words[1:]


def count_of(count: int, noun: str, plural: str = "") -> str:
    """A number with what is counted: `1 vector`, `1,024 vectors`."""
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"


def format_points(share: float | None, decimals: int = 1) -> str:
    """A share as percent, without the sign of percent; a dash where there is none."""
    return MISSING if share is None else _format_number(100 * share, decimals)


def format_decimal(value: float | None, decimals: int) -> str:
    """A number that is no share; a dash where there is none."""
    return MISSING if value is None else _format_number(value, decimals)


def format_percent(share: float, decimals: int = 1) -> str:
    """A share in running text."""
    return _format_number(100 * share, decimals) + PERCENT


def format_signed(share: float, decimals: int = 1) -> str:
    """A difference in points, with its sign."""
    text = _format_number(100 * share, decimals)
    return text if text.startswith("−") else f"+{text}"


def format_interval(low: float | None, high: float | None, decimals: int = 1, sign: bool = False) -> str:
    """An interval in percent or points; a dash where there is none."""
    if low is None or high is None:
        return MISSING
    form = format_signed if sign else format_points
    return f"[{form(low, decimals)}, {form(high, decimals)}]"


def format_p_value(p: float | None) -> Text:
    """A p-value as a cell."""
    if p is None:
        return (MISSING,)
    return (Math(("<",)), "\u202f0.001") if p < 0.001 else (f"{p:.3f}",)


def emphasize_best(number: str, best: bool) -> Text:
    """A number as a cell, in bold if it is one of the best."""
    return (Strong((number,)),) if best else (number,)


def decimals_for(widths: Sequence[float]) -> int:
    """Digits after the point that intervals of these widths (shares) deserve."""
    ordered = sorted(widths)
    median = 100 * ordered[len(ordered) // 2] if ordered else 1.0
    return 1 if median >= 0.5 else 2


def whole_digits(shares: Sequence[float]) -> int:
    """Digits before the point that a column needs for these shares in percent."""
    return 3 if any(abs(share) >= 0.9995 for share in shares) else 2


def _format_number(value: float, decimals: int) -> str:
    if not math.isfinite(value):
        raise ValueError(f"{value} was to be printed, expected a number: stats.json has none like it")
    text = f"{value:.{decimals}f}"
    return text.lstrip("-") if float(text) == 0 else text.replace("-", "−")
