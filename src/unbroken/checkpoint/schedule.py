"""When a checkpoint is due: after a fixed number of steps, or as often as it pays."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from itertools import groupby
from numbers import Real
from typing import Any, Literal, Protocol

from unbroken.arguments import wrong_argument
from unbroken.checkpoint.writer import SaveResult
from unbroken.environment import usable_cores
from unbroken.run_folder.events import elapsed_seconds

Every = int | Literal["auto"]
PRIOR_HOURS = 4.0
"""Until the history says otherwise: one interruption in this number of hours."""

_UNMEASURED_S = 60.0  # between two saves as long as none has succeeded


class SaveSchedule(Protocol):
    """Decides after each step whether to save."""

    def is_due(self, step: int, /) -> bool:
        """Is a checkpoint due after this step?"""

    def record_cost(self, result: SaveResult) -> None:
        """A checkpoint became durable, at this cost."""


class FixedSchedule:
    """Due every `every` steps."""

    def __init__(self, every: int) -> None:
        """Save every `every` steps.

        Raises:
            ArgumentError: `every` is less than 1.
        """
        if type(every) is not int or every < 1:
            raise wrong_argument(
                "every", every, "at least 1, or 'auto'", "Run(every=100), the steps between two checkpoints"
            )
        self._every = every

    def is_due(self, step: int) -> bool:
        """Is the step a multiple?"""
        return step % self._every == 0

    def record_cost(self, result: SaveResult) -> None:
        """The cost does not matter."""


class YoungDalySchedule:
    """Young and Daly: sqrt(2 x cost of a save x time between interruptions), and never faster than the disk.

    The cost is what the loop loses: the time it is blocked, and the processor time of the writing thread, spread
    over the cores. The first save comes after the first step, to measure it.
    """

    def __init__(self, per_hour: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Save as often as this rate of interruptions makes worthwhile.

        Args:
            per_hour: Interruptions per hour.
            clock: Seconds; another one only for tests.

        Raises:
            ArgumentError: `per_hour` is not above 0.
        """
        check_rate(per_hour)
        self._between = 3600.0 / per_hour
        self._clock = clock
        self._last = -math.inf
        self.interval = _UNMEASURED_S
        """Seconds between two saves."""

    def is_due(self, _step: int) -> bool:
        """Has the interval passed since a save was last due?"""
        now = self._clock()
        if now - self._last < self.interval:
            return False
        self._last = now
        return True

    def record_cost(self, result: SaveResult) -> None:
        """Take the newest cost."""
        cost = result.blocked + result.cpu / usable_cores()
        self.interval = max(young_daly_interval(cost, self._between), result.seconds)


def check_rate(per_hour: object) -> None:
    """Check that it may be a number of interruptions per hour.

    Raises:
        ArgumentError: It is none, not above 0, or not finite.
    """
    is_number = isinstance(per_hour, Real) and not isinstance(per_hour, bool)
    if not is_number or not 0 < per_hour < math.inf:  # type: ignore[operator]
        advice = 'Run(every="auto", preemptions_per_hour=0.25), or leave it out'
        raise wrong_argument("preemptions_per_hour", per_hour, "above 0, a number", advice)


def choose_schedule(
    asked: SaveSchedule | None, forced_every: int | None, per_hour: float | None, events: Sequence[dict[str, Any]]
) -> SaveSchedule:
    """The schedule of a start: what `prove` forces, else what was asked for, else as often as the run's events say."""
    if forced_every:
        return FixedSchedule(forced_every)
    return asked or YoungDalySchedule(per_hour or interruptions_per_hour(events))


def young_daly_interval(cost: float, between: float) -> float:
    """Seconds between two saves that lose least, for the cost of a save and the mean time between interruptions."""
    return math.sqrt(2.0 * cost * between)


def interruptions_per_hour(events: Sequence[dict[str, Any]]) -> float:
    """From the events of a run: starts after one that did not finish, over the hours that it ran.

    One interruption in PRIOR_HOURS is added to both, so that a young run has a rate too.
    """
    lives = [list(life) for _, life in groupby(events, key=lambda event: event.get("restart"))]
    interrupted = sum(not any(event.get("verdict") == "finished" for event in life) for life in lives)
    return (1.0 + interrupted) / (PRIOR_HOURS + sum(map(_duration_hours, lives)))


def _duration_hours(life: Sequence[dict[str, Any]]) -> float:
    timed = [event for event in life if "time" in event]
    return elapsed_seconds(timed[0], timed[-1]) / 3600.0 if timed else 0.0
