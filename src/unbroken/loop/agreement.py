"""What the processes of a run do next: all are told where they meet, so that none waits for one that is elsewhere."""

from __future__ import annotations

import json
from typing import NamedTuple

from unbroken.canonical_json import encode_canonical
from unbroken.errors import UnbrokenError
from unbroken.exact.group import Group
from unbroken.preemption import StopFlag

_ALIKE = (
    "let all ranks make as many steps, and end, leave and pin in the same ones: what one of them decides, all learn by "
    "group.any_rank(…)"
)


class Meeting(NamedTuple):
    """What was found out where all met, the same on all of them."""

    stops: bool
    """Was one of them asked to stop?"""
    asked: bool
    """What rank 0 `asks`."""


class ApartError(UnbrokenError):
    """Not all processes do the same."""


class ApartInStopError(ApartError):
    """One of them was asked to stop, which may be why it does something else."""


class Agreement:
    """The meetings of all processes. Each comes before something that needs all of them."""

    def __init__(self, group: Group, stop: StopFlag) -> None:
        """`stop`: of this process."""
        self._group, self._stop = group, stop

    def meet(self, plan: str, asks: bool = True, advice: str = _ALIKE) -> Meeting:
        """Make sure that all do the same next. Where nobody `asks` for anything, that is one number of each.

        Args:
            plan: What this process does: the rest of a sentence that begins with `Rank 1`.
            asks: Whether that is other than to go on as usual; all of them are told the plans of all then.
            advice: For programs in which they do not do the same.

        Raises:
            ApartError: They do not.
        """
        stops = self._stop.is_set()
        if self._group.size == 1:
            return Meeting(stops, asks)
        if not self._group.any_rank(asks or stops):
            return Meeting(False, False)
        told = [json.loads(text) for text in self._group.all_gather_bytes(encode_canonical([plan, asks, stops]))]
        meeting = Meeting(any(stops for _, _, stops in told), told[0][1])
        _check_same([plan for plan, _, _ in told], advice, ApartInStopError if meeting.stops else ApartError)
        return meeting


def _check_same(plans: list[str], advice: str, kind: type[ApartError]) -> None:
    other = next((rank for rank, plan in enumerate(plans) if plan != plans[0]), None)
    if other is not None:
        raise kind(
            f"Rank 0 {plans[0]}, but rank {other} {plans[other]}: all ranks have to do the same. Checkpoints are "
            f"intact. Next: {advice}."
        )
