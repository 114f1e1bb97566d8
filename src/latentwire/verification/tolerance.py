"""How far a number may lie from the published one: declared per metric in `verify.tolerances`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from latentwire.statistics.write import signed_entries

Numbers = Mapping[str, float]
ENDS = ("value", "low", "high")


class Unknown(str):
    """Why it cannot be said how far off something is: only the digest of what was published is known."""

    __slots__ = ()

    @classmethod
    def without(cls, what: str) -> Unknown:
        """The sentence that names what is missing."""
        return cls(f"how far off it is cannot be said without the published {what}. Next: `dvc fetch`")


def find_tolerance(metric: str, tolerances: Mapping[str, float]) -> float | None:
    """The tolerance of a metric or of the id of a number; None where none is declared.

    `accuracy` applies to `r8/smollm2/wire/accuracy`, `validation/accuracy` to `validation/accuracy/smollm2`; the
    longest declared name wins.
    """
    parts = f"/{metric}/"
    fitting = [name for name in tolerances if parts.startswith(f"/{name}/") or parts.endswith(f"/{name}/")]
    return tolerances[max(fitting, key=len)] if fitting else None


def first_exceeding(published: Numbers, recomputed: Numbers, tolerances: Mapping[str, float]) -> str | None:
    """Name the first number that is missing, has no tolerance, or is too far off; None where all are close enough.

    Keys are `metric` or `metric:what`; equal numbers need no tolerance.
    """
    for key in sorted({*published, *recomputed}):
        if key not in published or key not in recomputed:
            return f"{key} is {'not published' if key in recomputed else 'missing'}"
        was, now = published[key], recomputed[key]
        off, limit = abs(was - now), find_tolerance(key.partition(":")[0], tolerances)
        if off and limit is None:
            return f"{key} is {now:.6g}, published {was:.6g}, and has no tolerance in params.yaml"
        if limit is not None and off > limit:
            return f"{key} is {now:.6g}, published {was:.6g}: {off:.2g} off, tolerance {limit:g}"
    return None


def numbers_from_statistics(stats: Mapping[str, Any], ids: Iterable[str] | None = None) -> dict[str, float]:
    """Value and ends of the interval of the numbers with these ids (all for None).

    Where there is no interval, as when no two scores differ, its ends are the value: another run may have one.
    """
    known = signed_entries(stats)
    chosen = known if ids is None else [key for key in ids if key in known]
    return {f"{key}:{end}": float(number) for key in chosen for end, number in _ends(known[key])}


def _ends(entry: Mapping[str, Any]) -> list[tuple[str, Any]]:
    value = entry.get("value")
    numbers = [(end, value if entry.get(end) is None else entry[end]) for end in ENDS]
    return [(end, number) for end, number in numbers if number is not None]


def first_other_verdict(
    published: Mapping[str, Any], recomputed: Mapping[str, Any], ids: Iterable[str] | None = None
) -> str | None:
    """Name the first comparison whose verdict is not the published one; None where there is none."""
    for key in recomputed["comparisons"] if ids is None else ids:
        was, now = (_verdicts(stats["comparisons"].get(key, {})) for stats in (published, recomputed))
        for family, verdict in now.items():
            if was.get(family) != verdict:
                return f"{key} is {verdict!r} ({family}), published {was.get(family)!r}"
    return None


def _verdicts(entry: Mapping[str, Any]) -> dict[str, str]:
    return {family: adjusted["verdict"] for family, adjusted in entry.get("adjusted", {}).items()}
