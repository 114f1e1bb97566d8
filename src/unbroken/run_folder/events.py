"""What happened to this execution: clock, host, restarts, durations. None of it is a result."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from unbroken.errors import errno_name

EVENTS_FILE = "events.jsonl"


class Events:
    """Appends JSON lines to `events.jsonl`. A disk that refuses costs an event and is reported once."""

    def __init__(self, folder: Path, report: Callable[[str], None]) -> None:
        self.path = folder / EVENTS_FILE
        self._report = report
        self._failing = False
        self.restart: int = sum(event.get("event") == "start" for event in read_events(self.path))

    def add(self, event: str, **fields: object) -> None:
        """Append one event with time, host, pid and restart number."""
        entry = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "event": event,
            "restart": self.restart,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            **fields,
        }
        try:
            with self.path.open("ab") as file:
                if file.tell() and self._ends_torn():
                    file.write(b"\n")
                file.write(json.dumps(entry).encode() + b"\n")
            self._failing = False
        except OSError as error:
            if not self._failing:
                self._report(f"The event log {self.path} could not be written: {errno_name(error)}.")
            self._failing = True

    def _ends_torn(self) -> bool:
        with self.path.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read(1) != b"\n"


def read_events(path: Path) -> list[dict[str, Any]]:
    """The events of a file, without lines torn by a kill; empty when there is no file."""
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        return []
    return [event for event in map(_parse_event, lines) if event is not None]


def _parse_event(text: bytes) -> dict[str, Any] | None:
    try:
        event = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return event if isinstance(event, dict) else None
