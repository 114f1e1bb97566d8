"""What happened to this execution: clock, host, restarts, durations. None of it is a result."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from unbroken.errors import errno_name, storage_errors
from unbroken.filesystem import FileSystem, read_file

EVENTS_FILE = "events.jsonl"


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
        self.restart: int = sum(event.get("event") == "start" for event in self.past)

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


def read_events(path: Path, files: FileSystem | None = None) -> list[dict[str, Any]]:
    """The events of a file, without lines torn by a kill; empty when there is no file.

    Raises:
        OSError: It cannot be read now.
    """
    try:
        lines = read_file(files or FileSystem(), path).splitlines()
    except FileNotFoundError:
        return []
    return [event for event in map(_parse_event, lines) if event is not None]


def _parse_event(text: bytes) -> dict[str, Any] | None:
    try:
        event = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return event if isinstance(event, dict) else None
