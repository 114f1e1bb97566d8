"""Readings of a machine as curves over time: a segment for every start, by a clock that nobody sets."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from latentwire.dashboard.curves import Point
from latentwire.nvml import Gpu
from latentwire.sizes import GIB
from latentwire.tracking.readings import Reading

LOW_PERCENT = 70
"""A GPU that is less busy than that waits for something."""
GAP_S = 120.0
"""Readings further apart are not joined: four times the longest pause between two looks."""
INSTANCE = "MIG-"
Curves = list[tuple[str, list[list[Point]]]]
"""Name → segments."""


@dataclass(frozen=True)
class Panel:
    """A chart of the machine."""

    name: str
    title: str
    curves: Curves
    highest: float | None = None
    """Upper end of the axis; None where it follows the values."""
    limit: float | None = None
    """Where a line is drawn."""


class MachineSeries:
    """The readings of a run."""

    def __init__(self, readings: Sequence[Reading]) -> None:
        parts = [part for start in split_starts(readings) for part in _split_gaps(_timed(start))]
        self.begin = parts[0][0][0] if parts else None
        """When the first one was taken."""
        self._segments = [[(format_moment(at), now, _by_uuid(now)) for at, now in part] for part in parts]
        self._names = {card.uuid: card.name for reading in readings for card in reading.gpus}

    def panels(self) -> list[Panel]:
        """Those of which anything was measured."""
        panels = [
            Panel("gpu", "GPU busy, %", self._gpu_curves(lambda card: card.busy), 105, LOW_PERCENT),
            Panel("gpu-memory", "GPU memory, GiB", self._gpu_curves(lambda card: _gib(card.used))),
            Panel("gpu-power", f"GPU power, W{self._note()}", self._gpu_curves(lambda card: card.power)),
            Panel("gpu-temperature", f"GPU temperature, °C{self._note()}", self._gpu_curves(lambda c: c.temperature)),
            Panel("host", "Host processors and memory, %", self._host_curves(), 105),
            Panel("disk", "Free disk, GiB", [("free", self._values(lambda now: _gib(now.disk_free)))]),
        ]
        measured = [(panel, [curve for curve in panel.curves if _is_measured(curve[1])]) for panel in panels]
        return [Panel(p.name, p.title, curves, p.highest, p.limit) for p, curves in measured if curves]

    def _host_curves(self) -> Curves:
        return [
            ("processors", self._values(lambda now: now.cpu)),
            ("memory", self._values(lambda now: _percent(now.memory_used, now.memory_total))),
        ]

    def _gpu_curves(self, value: Callable[[Gpu], float | None]) -> Curves:
        return [(_label(uuid, name), self._card_values(uuid, value)) for uuid, name in self._names.items()]

    def _card_values(self, uuid: str, value: Callable[[Gpu], float | None]) -> list[list[Point]]:
        """None where the card was not seen."""
        return [[(at, value(cards[uuid]) if uuid in cards else None) for at, _, cards in p] for p in self._segments]

    def _values(self, value: Callable[[Reading], float | None]) -> list[list[Point]]:
        return [[(at, value(now)) for at, now, _ in part] for part in self._segments]

    def _note(self) -> str:
        """NVML knows power and temperature of whole cards only."""
        return " (of the whole card)" if any(uuid.startswith(INSTANCE) for uuid in self._names) else ""


def format_moment(moment: datetime) -> str:
    """A moment in UTC, to the millisecond, as plotly reads it."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f}"[:-3]


def split_starts(readings: Sequence[Reading]) -> list[list[Reading]]:
    """A list for every start: another process, another host, or a machine that was started anew."""
    starts: list[list[Reading]] = []
    for reading in readings:
        last = starts[-1][-1] if starts else None
        if last is None or (last.host, last.pid) != (reading.host, reading.pid) or reading.uptime < last.uptime:
            starts.append([])
        starts[-1].append(reading)
    return starts


def _timed(start: Sequence[Reading]) -> list[tuple[datetime, Reading]]:
    """Times from the first one on, by the time that passed: the clock may have been set meanwhile."""
    first = start[0]
    return [(first.moment + timedelta(seconds=reading.uptime - first.uptime), reading) for reading in start]


def _split_gaps(timed: Sequence[tuple[datetime, Reading]]) -> Iterator[list[tuple[datetime, Reading]]]:
    part = [timed[0]]
    for pair in timed[1:]:
        if (pair[0] - part[-1][0]).total_seconds() > GAP_S:
            yield part
            part = []
        part.append(pair)
    yield part


def _by_uuid(now: Reading) -> dict[str, Gpu]:
    return {card.uuid: card for card in now.gpus}


def _label(uuid: str, name: str) -> str:
    """The name and enough of the UUID to tell cards apart."""
    return f"{name} {uuid[:12]}".strip()


def _is_measured(parts: Sequence[Sequence[Point]]) -> bool:
    return any(value is not None for part in parts for _, value in part)


def _gib(count: int | None) -> float | None:
    return None if count is None else count / GIB


def _percent(part: int | None, total: int | None) -> float | None:
    return None if part is None or not total else 100 * part / total
