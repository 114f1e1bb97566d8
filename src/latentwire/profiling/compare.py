"""Measured costs against those of another execution: no result, so compared as ratios within a tolerance."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from latentwire.errors import ConfigurationError
from latentwire.verification.rows import ResultRow, Status


def read_profile(path: Path) -> dict[str, Any]:
    """A `profile.json`.

    Raises:
        ConfigurationError: It is not there, or is none.
    """
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            f"{path} cannot be read ({error}), expected the profile of another execution. Next: `latentwire profile`."
        ) from error


def compare_profiles(before: Mapping[str, Any], after: Mapping[str, Any], tolerance: float) -> list[ResultRow]:
    """A row per way: milliseconds within a factor of `tolerance`; positions and bytes, which are no time, equal."""
    was, now = _by_way(before), _by_way(after)
    rows = [_row(way, was.get(way), now.get(way), tolerance) for way in sorted({*was, *now})]
    if before["machine"] == after["machine"]:
        return rows
    machines = f"measured on {_machine(before)}, now on {_machine(after)}"
    return [ResultRow(row.kind, row.name, row.status, f"{row.why}; {machines}") for row in rows]


def _row(way: str, was: Mapping[str, Any] | None, now: Mapping[str, Any] | None, tolerance: float) -> ResultRow:
    if was is None or now is None:
        return ResultRow("cost", way, Status.DIFFERS, "measured here alone" if was is None else "not measured here")
    for fact in ("positions", "bytes_per_example"):
        if was[fact] != now[fact]:
            return ResultRow("cost", way, Status.DIFFERS, f"{fact} is {now[fact]:g}, before {was[fact]:g}")
    before, after = (one["milliseconds"]["total"]["median"] for one in (was, now))
    ratio = after / before
    near = max(ratio, 1 / ratio) <= tolerance
    why = f"{after:.1f} ms an example, before {before:.1f}: {ratio:.2f} times, tolerance {tolerance:g} times"
    return ResultRow("cost", way, Status.WITHIN if near else Status.DIFFERS, why)


def _by_way(profile: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    return {f"{one['task']}/{one['receiver']}/{one['method']}": one for one in profile["ways"]}


def _machine(profile: Mapping[str, Any]) -> str:
    return str(profile["machine"]["GPUs"] if profile["device"] == "cuda" else profile["machine"]["processor"])
