"""What a run's bits depend on besides its identity: hardware, library builds, switches. Kept with its state."""

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
    """Segments of a run: the first step that was computed under some facts, and the facts."""

    def __init__(self, facts: NumericsInfo) -> None:
        self._facts = dict(facts)
        self.segments: list[dict[str, Any]] = []

    def gather(self, group: Group) -> None:
        """The facts of all processes: where they differ, each kind once, since all are part of the sums."""
        everyone = sorted(set(group.all_gather_bytes(encode_canonical(self._facts))))
        if len(everyone) > 1:
            self._facts = {"mixed": [json.loads(text) for text in everyone]}

    def begin_segment(self, step: int) -> str | None:
        """The run goes on after `step` under our facts; returns what is new about them, if anything."""
        before = self.segments[-1]["facts"] if self.segments else None
        if before == self._facts:
            return None
        self.segments.append({"first": step + 1, "facts": dict(self._facts)})
        return None if before is None else _changes(before, self._facts)

    def state_dict(self) -> dict[str, Any]:
        """The segments so far."""
        return {"segments": [dict(segment) for segment in self.segments]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The segments of the checkpoint."""
        self.segments = [dict(segment) for segment in state["segments"]]


def _changes(before: NumericsInfo, now: NumericsInfo) -> str:
    names = [name for name in sorted({*before, *now}) if before.get(name) != now.get(name)]
    return ", ".join(f"{name} {before.get(name)!r} became {now.get(name)!r}" for name in names)
