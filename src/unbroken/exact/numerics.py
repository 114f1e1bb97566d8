"""What a run's bits depend on besides its identity: hardware, library builds, switches. Kept in its state."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from unbroken.canonical_json import JSON, encode_canonical
from unbroken.exact.group import Group

NUMERICS_STATE = "numerics"
"""The part of the state, so also of an exported checkpoint's tree, that holds the segments."""

NumericsInfo = Mapping[str, JSON]


class Numerics:
    """Segments of a run: the first step of each, and the hardware and software that computed it."""

    def __init__(self, info: NumericsInfo) -> None:
        self._info = dict(info)
        self.segments: list[dict[str, Any]] = []

    def gather(self, group: Group) -> None:
        """Take in those of all processes: where they differ, each kind once, since all are part of the sums."""
        distinct = sorted(set(group.all_gather_bytes(encode_canonical(self._info))))
        if len(distinct) > 1:
            self._info = {"mixed": [json.loads(text) for text in distinct]}

    def begin_segment(self, step: int) -> str | None:
        """The run goes on after `step` here; returns what differs from the segment before, if anything."""
        before = self.segments[-1]["facts"] if self.segments else None
        if before == self._info:
            return None
        self.segments.append({"first": step + 1, "facts": dict(self._info)})
        return None if before is None else _describe_changes(before, self._info)

    def state_dict(self) -> dict[str, Any]:
        """The segments so far."""
        return {"segments": [dict(segment) for segment in self.segments]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The segments of the checkpoint."""
        self.segments = [dict(segment) for segment in state["segments"]]


def _describe_changes(before: NumericsInfo, now: NumericsInfo) -> str:
    names = [name for name in sorted({*before, *now}) if before.get(name) != now.get(name)]
    return ", ".join(f"{name} {before.get(name)!r} became {now.get(name)!r}" for name in names)
