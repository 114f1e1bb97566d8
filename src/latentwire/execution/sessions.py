"""`events.jsonl` as sessions: one per start of a training process."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

from unbroken.run_folder import events

PREEMPTED = "preempted"
PACKAGES = ("latentwire", "unbroken")
CLOCK_DRIFT_S, CLOCK_DRIFT = 2.0, 0.001
"""Seconds, and seconds per second, by which clocks that are only kept right may differ."""
KILLED = "killed or running"
"""No end was written: the process was killed, lost its machine, or still runs."""


@dataclass(frozen=True)
class Session:
    """From a start to its end, or to the last event before a kill."""

    item: str
    identity: str
    """First 12 hex of the run's identity."""
    restart: int
    host: str
    start: datetime
    verdict: str
    first_step: int
    last_step: int
    checkpoints: int
    gpus: int | None
    """None where the events do not say."""
    processes: int | None
    """Processes that shared a step; None where the events do not say."""
    image: str | None
    """Digest of the image that the process ran from; None outside an image."""
    versions: Mapping[str, str]
    """Package of ours → 12 hex of its source; empty where the events do not say."""

    seconds: float
    """From the start to the last event, by a clock that nobody sets where the events have it; never below 0."""
    job: str | None = None
    """SLURM's, `120_4` for a task of an array; None outside SLURM, or where the events do not say."""
    job_restart: int | None = None
    """How often SLURM had requeued it."""
    signal: str | None = None
    """What ended it in good order."""
    lost_before: int | None = None
    """Steps of the start before it that were not durable and are computed again; None where nobody knows."""
    clock_was_set: bool = False
    """The machine's clock went back, or ran ahead of the time that passed."""

    @property
    def hours(self) -> float:
        """Wall time."""
        return self.seconds / 3600

    @property
    def end(self) -> datetime:
        """When it was over, counted from its start."""
        return self.start + timedelta(seconds=self.seconds)


def read_event_logs(state: Path) -> list[events.EventLog]:
    """The events of every run folder `ITEM-IDENTITY` of `state/`."""
    return [events.read_event_log(path) for path in sorted(state.glob(f"*/{events.EVENTS_FILE}"))]


def sessions_from_logs(logs: Iterable[events.EventLog]) -> list[Session]:
    """Sessions of run folders, in the order of their start."""
    sessions = [session for log in logs for session in sessions_from_events(log.path.parent.name, log.events)]
    return sorted(sessions, key=lambda session: (session.start, session.item))


def sessions_from_events(folder: str, recorded: Iterable[Mapping[str, Any]]) -> list[Session]:
    """The sessions of one run; `folder` is its name, the item and 12 hex."""
    item, _, identity = folder.rpartition("-")
    ordered = sorted(
        (event for event in recorded if "time" in event and "restart" in event), key=lambda e: e["restart"]
    )
    groups = [list(group) for _, group in groupby(ordered, key=lambda event: event["restart"])]
    return [_session(item, identity, group) for group in groups if group[0].get("event") == "start"]


def read_ending(event: Mapping[str, Any]) -> str | None:
    """The verdict of an event that ends a start, which a stop that took too long does too; None of any other event."""
    if event.get("event") == "forced-exit":
        return PREEMPTED
    return str(event.get("verdict", PREEMPTED)) if event.get("event") == "end" else None


def _session(item: str, identity: str, group: Sequence[Mapping[str, Any]]) -> Session:
    first, last = group[0], group[-1]
    stops = [event for event in group if read_ending(event)]
    verdict = read_ending(stops[-1]) if stops else KILLED
    return Session(
        item=item,
        identity=identity,
        restart=int(first["restart"]),
        host=str(first.get("host", "")),
        start=datetime.fromisoformat(first["time"]),
        seconds=events.elapsed_seconds(first, last),
        clock_was_set=_clock_was_set(group),
        verdict=str(verdict),
        first_step=int(first.get("step", 0)),
        last_step=max(int(event.get("step", 0)) for event in group),
        checkpoints=sum(event["event"] == "checkpoint" for event in group),
        gpus=_gpus(first),
        processes=_read_count(first, "processes"),
        image=str(first["image"]) if first.get("image") else None,
        versions={name: str(first[name]) for name in PACKAGES if name in first},
        job=first.get("job"),
        job_restart=first.get("job_restart"),
        signal=next((str(event["signal"]) for event in stops if event.get("signal")), None),
        lost_before=first.get("lost"),
    )


def _clock_was_set(group: Sequence[Mapping[str, Any]]) -> bool:
    """Whether times and elapsed seconds disagree by more than a clock is corrected by."""
    times = [datetime.fromisoformat(event["time"]) for event in group]
    shown = (times[-1] - times[0]).total_seconds()
    passed = events.elapsed_seconds(group[0], group[-1])
    return any(b < a for a, b in pairwise(times)) or abs(shown - passed) > CLOCK_DRIFT_S + CLOCK_DRIFT * passed


def _gpus(start: Mapping[str, Any]) -> int | None:
    """GPUs that a session used; each process on a GPU has its own."""
    if (gpus := _read_count(start, "gpus")) is not None:
        return gpus
    processes = _read_count(start, "processes")
    if "device" not in start or processes is None:
        return None
    return processes if str(start["device"]).startswith("cuda") else 0


def _read_count(start: Mapping[str, Any], name: str) -> int | None:
    """None also where a line was changed by hand, and says something that is no number of things."""
    return count if isinstance(count := start.get(name), int) and count >= 0 else None


@dataclass(frozen=True)
class RunTotals:
    """Sums over the sessions of one run."""

    item: str
    identity: str
    starts: int
    preemptions: int
    kills: int
    steps: int
    repeated: int
    """Steps that were done twice, because a kill came after the newest checkpoint."""
    hours: float
    gpu_hours: float | None
    """None where the number of GPUs is not known."""
    processes: tuple[int, ...]
    """Process counts of its starts in order, without repeats; empty where the events do not say."""
    verdict: str


def sum_sessions(sessions: Sequence[Session], gpus: Mapping[str, int]) -> list[RunTotals]:
    """Sums by run; `gpus` is the number of GPUs by item, for sessions that do not say it."""
    keyed = sorted(sessions, key=lambda session: (session.item, session.identity, session.restart))
    groups = groupby(keyed, key=lambda session: (session.item, session.identity))
    return [_total(item, identity, list(group), gpus.get(item)) for (item, identity), group in groups]


def _total(item: str, identity: str, group: Sequence[Session], gpus: int | None) -> RunTotals:
    used = [session.gpus if session.gpus is not None else gpus for session in group]
    spent = [session.hours * count for session, count in zip(group, used, strict=True) if count is not None]
    steps = max(session.last_step for session in group)
    return RunTotals(
        item=item,
        identity=identity,
        starts=len(group),
        preemptions=sum(session.verdict == PREEMPTED for session in group),
        # The last session without an end may still run.
        kills=sum(session.verdict == KILLED for session in group[:-1]),
        steps=steps,
        repeated=sum(session.last_step - session.first_step for session in group) - steps + group[0].first_step,
        hours=sum(session.hours for session in group),
        gpu_hours=None if None in used else sum(spent),
        processes=tuple(count for count, _ in groupby(session.processes for session in group) if count is not None),
        verdict=group[-1].verdict,
    )
