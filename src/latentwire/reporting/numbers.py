"""Numbers and words as LaTeX: every string is escaped unless it is `Tex` already."""

from __future__ import annotations

import math
from collections.abc import Sequence

ESCAPES = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
}


class Tex(str):
    """Text that is LaTeX already and is not escaped again."""

    __slots__ = ()


MISSING = Tex("{--}")
"""A cell without a number: unbraced dashes stop siunitx, and an empty cell would look like an oversight."""


def escape(text: str) -> Tex:
    """The text as LaTeX prints it."""
    return text if isinstance(text, Tex) else Tex("".join(ESCAPES.get(letter, letter) for letter in text))


def points(share: float | None, decimals: int = 1) -> Tex:
    """A share as percent, for a siunitx column; a dash where there is none."""
    return MISSING if share is None else Tex(_plain(100 * share, decimals))


def bold(cell: Tex) -> Tex:
    """The same in bold; siunitx keeps it with `mode=text, reset-text-series=false`."""
    return Tex(rf"\bfseries {cell}")


def percent(share: float, decimals: int = 1) -> Tex:
    """A share in running text."""
    return Tex(_minus(_plain(100 * share, decimals)) + r"\,\%")


def signed(share: float, decimals: int = 1) -> Tex:
    """A difference in running text, with its sign, in points."""
    text = _plain(100 * share, decimals)
    return Tex(_minus(text) if text.startswith("-") else "+" + text)


def interval(low: float | None, high: float | None, decimals: int = 1, sign: bool = False) -> Tex:
    """An interval in percent or points; a dash where there is none."""
    if low is None or high is None:
        return Tex("--")
    ends = [signed(end, decimals) if sign else _minus(_plain(100 * end, decimals)) for end in (low, high)]
    return Tex(f"[{ends[0]}, {ends[1]}]")


def p_value(p: float | None) -> Tex:
    """A p-value in a text column."""
    if p is None:
        return Tex("--")
    return Tex(r"$<$\,0.001") if p < 0.001 else Tex(f"{p:.3f}")


def p_clause(p: float | None, name: str) -> Tex:
    """A p-value in running text, for example `$p_{Holm} = 0.012$`."""
    if p is None:
        return Tex("no test")
    symbol = rf"p_{{\mathrm{{{name}}}}}"
    return Tex(rf"${symbol} < 0.001$") if p < 0.001 else Tex(rf"${symbol} = {p:.3f}$")


def decimals_for(widths: Sequence[float]) -> int:
    """Digits after the point that intervals of these widths (shares) deserve."""
    ordered = sorted(widths)
    median = 100 * ordered[len(ordered) // 2] if ordered else 1.0
    return 1 if median >= 0.5 else 2


def whole_digits(shares: Sequence[float]) -> int:
    """Digits before the point that a siunitx column needs for these shares in percent."""
    return 3 if any(abs(share) >= 0.9995 for share in shares) else 2


def listed(items: Sequence[str]) -> Tex:
    """Items in running text: `a, b and c`."""
    words = [escape(item) for item in items]
    return Tex(words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}")


def _plain(value: float, decimals: int) -> str:
    if not math.isfinite(value):
        raise ValueError(f"{value} was to be printed, expected a number: stats.json has none like it")
    text = f"{value:.{decimals}f}"
    return text.removeprefix("-") if float(text) == 0 else text


def _minus(text: str) -> str:
    return f"$-${text[1:]}" if text.startswith("-") else text
