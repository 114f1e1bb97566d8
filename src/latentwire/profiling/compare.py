"""Measured costs against those of another execution: no result, so compared as ratios within a tolerance."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from latentwire.errors import ConfigurationError
from latentwire.verification.rows import ResultRow, Status


def read_profile(path: Path) -> dict[str, Any]:
    """Read a `profile.json`.

    Raises:
        ConfigurationError: It is not there, or is no profile.
    """
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            f"{path} cannot be read ({error}), expected the profile of another execution. Next: `latentwire profile`."
        ) from error


def compare_profiles(before: Mapping[str, Any], after: Mapping[str, Any], tolerance: float) -> list[ResultRow]:
    """A row per path: milliseconds within a factor of `tolerance`; positions and bytes, which are no time, equal."""
    was, now = _by_name(before), _by_name(after)
    rows = [_row(path, was.get(path), now.get(path), tolerance) for path in sorted({*was, *now})]
    if before["machine"] == after["machine"]:
        return rows
    machines = f"measured on {_machine(before)}, now on {_machine(after)}"
    return [ResultRow(row.kind, row.name, row.status, f"{row.why}; {machines}") for row in rows]


def _row(path: str, was: Mapping[str, Any] | None, now: Mapping[str, Any] | None, tolerance: float) -> ResultRow:
    if was is None or now is None:
        why = "measured here alone" if was is None else "not measured here"
        return ResultRow("cost", path, Status.CONTRADICTED, why)
    for fact in ("positions", "bytes_per_example"):
        if was[fact] != now[fact]:
            return ResultRow("cost", path, Status.CONTRADICTED, f"{fact} is {now[fact]:g}, before {was[fact]:g}")
    before, after = (record["milliseconds"]["total"]["median"] for record in (was, now))
    ratio = after / before
    near = max(ratio, 1 / ratio) <= tolerance
    why = f"{after:.1f} ms an example, before {before:.1f}: {ratio:.2f} times, tolerance {tolerance:g} times"
    return ResultRow("cost", path, Status.COMPATIBLE if near else Status.CONTRADICTED, why)


def _by_name(profile: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    return {f"{record['task']}/{record['receiver']}/{record['method']}": record for record in profile["ways"]}


def _machine(profile: Mapping[str, Any]) -> str:
    return str(profile["machine"]["GPUs"] if profile["device"] == "cuda" else profile["machine"]["processor"])
