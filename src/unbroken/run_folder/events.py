"""What happened to this execution: clock, host, restarts, durations. None of it is a result."""

from __future__ import annotations

import json
import math
import os
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from unbroken.errors import errno_name, storage_errors
from unbroken.filesystem import FileSystem, read_file

EVENTS_FILE = "events.jsonl"
NAMED_LINES = 5
"""Of the damaged ones, in a sentence."""


class Events:
    """Appends JSON lines to `events.jsonl`. A disk that refuses costs an event and is reported once."""

    def __init__(
        self,
        folder: Path,
        report: Callable[[str], None],
        is_owner: Callable[[], bool] = lambda: True,
        files: FileSystem | None = None,
    ) -> None:
        """Read what was recorded so far.

        Args:
            folder: The run folder.
            report: Receives a sentence when the disk refuses.
            is_owner: Asked before each event; the log of a folder that may be another's by now is left alone.
            files: The file system; replaced only to inject faults.

        Raises:
            StorageError: It cannot be read now.
        """
        self.path = folder / EVENTS_FILE
        self._report, self._is_owner, self._files = report, is_owner, files or FileSystem()
        self._failing = False
        with storage_errors("read the event log", self.path, "Checkpoints and journal were not touched."):
            self.past = read_events(self.path, self._files)
        starts = [event for event in self.past if event["event"] == "start"]
        # A damaged line may be that of a start, whose number must not be given to another one.
        self.restart: int = max([len(starts), *(event.get("restart", 0) + 1 for event in starts)])

    def add(self, event: str, **fields: object) -> None:
        """Append one event with time, host, pid and restart number."""
        if not self._is_owner():
            return
        entry = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "uptime": round(uptime(), 3),
            "event": event,
            "restart": self.restart,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            **fields,
        }
        try:
            self._files.append_line(self.path, json.dumps(entry).encode() + b"\n")
            self._failing = False
        except OSError as error:
            if not self._failing:
                self._report(f"The event log {self.path} could not be written: {errno_name(error)}.")
            self._failing = True


def uptime() -> float:
    """Seconds since this machine was started, by a clock that nobody sets: what durations are made from."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def elapsed_seconds(begin: Mapping[str, Any], end: Mapping[str, Any]) -> float:
    """Seconds between two events of one start, never below 0.

    Where they do not say how long the machine was up, it is the difference of their times, which may be wrong or 0 if
    its clock was set in between.
    """
    if "uptime" in begin and "uptime" in end and begin.get("host") == end.get("host"):
        return max(0.0, float(end["uptime"]) - float(begin["uptime"]))
    first, last = (datetime.fromisoformat(event["time"]) for event in (begin, end))
    return max(0.0, (last - first).total_seconds())


@dataclass(frozen=True)
class EventLog:
    """What `events.jsonl` has."""

    path: Path
    events: list[dict[str, Any]] = field(default_factory=list)
    """In order. All have `event` and `time`; what else they may have is of its type."""
    damaged: tuple[int, ...] = ()
    """Numbers of the lines, from 1, that are no such event; one that is being written is not among them."""

    @property
    def problem(self) -> str:
        """A sentence on the damaged lines; empty where there are none."""
        if not self.damaged:
            return ""
        lines = ", ".join(map(str, self.damaged[:NAMED_LINES])) + (", …" if len(self.damaged) > NAMED_LINES else "")
        named = f"Line {lines}" if len(self.damaged) == 1 else f"{len(self.damaged)} lines ({lines})"
        return (
            f"{named} of {self.path} cannot be read, expected a JSON object with `event` and `time`: something may be "
            "missing here that it told of this execution; no result depends on it. Next: go on; this is not said any "
            "more once nothing of that kind is in the file."
        )


def read_events(path: Path, files: FileSystem | None = None) -> list[dict[str, Any]]:
    """The events of a file, without damaged lines; empty when there is no file.

    Raises:
        OSError: It cannot be read now.
    """
    return read_event_log(path, files).events


def read_event_log(path: Path, files: FileSystem | None = None) -> EventLog:
    """The events of a file, which another process may be writing, and which of its lines are none.

    Raises:
        OSError: It cannot be read now.
    """
    try:
        lines = read_file(files or FileSystem(), path).split(b"\n")
    except FileNotFoundError:
        return EventLog(path)
    parsed = [_parse_event(line) for line in lines]
    ended = enumerate(zip(lines[:-1], parsed, strict=False), 1)  # after the last line end is nothing, or half a line
    damaged = tuple(number for number, (line, event) in ended if line and not event)
    return EventLog(path, [event for event in parsed if event], damaged)


def _parse_event(text: bytes) -> dict[str, Any] | None:
    try:
        event = json.loads(text)
        return event if isinstance(event, dict) and _is_event(event) else None
    except (ValueError, RecursionError):
        return None


def _is_event(entry: Mapping[str, Any]) -> bool:
    """Whether readers find what they ask for: a step in each start and checkpoint, times that can be compared."""
    kind = entry.get("event")
    if not isinstance(kind, str) or (kind in ("start", "checkpoint") and "step" not in entry):
        return False
    is_dated = isinstance(entry.get("time"), str) and datetime.fromisoformat(entry["time"]).tzinfo is not None
    return is_dated and all(is_right(entry[name]) for name, is_right in _FIELDS.items() if name in entry)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 63


def _is_duration(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_text_or_none(value: object) -> bool:
    return value is None or isinstance(value, str)


def _is_count_or_none(value: object) -> bool:
    return value is None or _is_count(value)


_FIELDS: dict[str, Callable[[object], bool]] = {
    **dict.fromkeys(("step", "restart"), _is_count),
    **dict.fromkeys(("lost", "job_restart"), _is_count_or_none),
    **dict.fromkeys(("verdict", "signal", "job", "host"), _is_text_or_none),
    "uptime": _is_duration,
}
"""Of what a run writes by itself; `Run(start_info=…)` adds what it likes."""
