"""How many processes train when, and what ends them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Leg:
    """One start: so many processes, ended by a signal to one of them once a step is in the journal."""

    processes: int
    signal: str | None = None
    """`TERM` or `KILL`; None lets it run to its end."""
    step: int = 0


@dataclass(frozen=True)
class Schedule:
    """Starts of one run, the last of which reaches its end."""

    name: str
    legs: tuple[Leg, ...]
    torchrun: bool = False
    """Started by torchrun instead of by the stage itself."""


def steady(processes: int) -> Schedule:
    """Nothing ends it."""
    return Schedule(f"{processes}", (Leg(processes),))


def changing(signal: str, *processes: int, every: int = 4) -> Schedule:
    """The number of processes changes at each start; the signal comes every few steps."""
    *first, last = processes
    legs = [Leg(count, signal, every * (place + 1)) for place, count in enumerate(first)]
    return Schedule(f"{' → '.join(map(str, processes))} by {signal}", (*legs, Leg(last)))


SCHEDULES = (
    steady(1),
    steady(2),
    steady(3),
    steady(4),
    changing("TERM", 1, 2, 4, 3, 1),
    changing("KILL", 1, 2, 4, 3, 1),
    changing("TERM", 4, 1),
    changing("KILL", 3, 2),
    Schedule("torchrun 2", (Leg(2),), torchrun=True),
)
