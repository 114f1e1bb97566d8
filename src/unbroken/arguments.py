"""What a program says to this package: a wrong argument is refused with a sentence before anything is trained."""

from __future__ import annotations

import math
import numbers
import operator
from collections.abc import Mapping
from typing import Any

from unbroken.errors import ArgumentError, shorten_text


def check_count(value: object, name: str, least: int, advice: str) -> int:
    """A whole number; also one of numpy, or a float without a fraction.

    Raises:
        ArgumentError: It is none, or less than `least`. NaN and booleans are none.
    """
    count = _to_count(value)
    if count is None or count < least:
        raise wrong_argument(name, value, f"at least {least}, a whole number", advice)
    return count


def _to_count(value: Any) -> int | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, float):
        return int(value) if value.is_integer() else None
    try:
        return operator.index(value)
    except TypeError:
        return None


def check_number(value: object, name: str, least: float, advice: str) -> None:
    """Check that it is a number which is not less; infinity is one.

    Raises:
        ArgumentError: It is none, NaN, or less.
    """
    is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not is_number or math.isnan(value) or value < least:  # type: ignore[arg-type, operator]
        raise wrong_argument(name, value, f"at least {least:g}, a number", advice)


def check_kind(value: object, name: str, kind: type, advice: str) -> None:
    """Check that it is an instance of this class.

    Raises:
        ArgumentError: It is not.
    """
    if not isinstance(value, kind):
        word = kind.__name__ if kind is not Mapping else "mapping"
        raise wrong_argument(name, value, f"{'an' if word[0] in 'AEIOU' else 'a'} {word}", advice)


def check_names(parts: Mapping[Any, object], name: str, advice: str) -> None:
    """Check that it is a mapping whose keys are names.

    Raises:
        ArgumentError: It is not.
    """
    check_kind(parts, name, Mapping, advice)
    for key in parts:
        if not isinstance(key, str):
            raise wrong_argument(f"A name in {name}", key, "a str", advice)


def wrong_argument(name: str, value: object, expected: str, advice: str) -> ArgumentError:
    """The error that says what was found and expected."""
    found = value if value is None or isinstance(value, type | str | numbers.Number) else type(value)
    shown = f"a {found.__qualname__}" if isinstance(found, type) else shorten_text(repr(found))
    return ArgumentError(f"{name} must be {expected}, got {shown}. Next: {advice}.")
