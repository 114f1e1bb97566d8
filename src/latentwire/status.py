"""The status of every item of the training matrix, read from its run folder; a running trainer is not disturbed."""

from __future__ import annotations

import fcntl
import json
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.table import Table

from latentwire.console.tables import make_table
from latentwire.item import TrainItem
from latentwire.params.load import Params
from latentwire.training.run_identity import identity
from unbroken.errors import CheckpointError
from unbroken.run_folder import events, journal, lock
from unbroken.run_folder.journal import Record


@dataclass(frozen=True)
class ItemStatus:
    """What is known of one item."""

    item: str
    step: int
    """Last step in the journal of its newest run folder."""
    durable: int
    """Last step in a checkpoint."""
    starts: int
    verdict: str
    """`finished`, `preempted`, `failed`, `running`, `killed`, `not started`; `running on HOST, or killed` where only
    that host can tell."""
    seconds_left: float | None
    """From the pace since the last start; None where nothing is under way."""
    preempted: int = 0
    """Starts that a signal ended in good order."""
    killed: int = 0
    """Starts that ended without a word."""
    pace: float | None = None
    """Steps per second since the last start; None where nothing is under way."""
    saved: datetime | None = None
    """When the newest checkpoint became durable."""
    records: Sequence[Record] = field(default=(), repr=False)
    """The journal."""
    problem: str = ""
    """Why there is no journal to be shown."""

    @property
    def under_way(self) -> bool:
        """Whether it may be training at this moment."""
        return self.verdict.startswith("running")


def read_item_status(state: Path, item: str, identity: str, steps: int) -> ItemStatus:
    """Read the run folder of an item; `identity` is the short digest in its name."""
    folder = state / f"{item}-{identity}"
    recorded = events.read_events(folder / events.EVENTS_FILE)
    if not recorded:
        return ItemStatus(item, 0, 0, 0, "not started", None)
    records, problem = _records(folder / journal.JOURNAL_FILE)
    step = records[-1]["step"] if records else 0
    saves = [event for event in recorded if event["event"] == "checkpoint"]
    durable = max([event["step"] for event in saves] + _checkpoints(folder), default=0)
    starts = [event for event in recorded if event["event"] == "start"]
    ends = [event["verdict"] for event in recorded if event["event"] == "end"]
    verdict = _verdict(folder, recorded[-1])
    running = verdict.startswith("running")
    pace = _pace(starts[-1], folder, step) if running and starts else None
    return ItemStatus(
        item,
        step,
        durable,
        len(starts),
        verdict,
        (steps - step) / pace if pace else None,
        preempted=ends.count("preempted"),
        killed=max(0, len(starts) - len(ends) - running),
        pace=pace,
        saved=datetime.fromisoformat(saves[-1]["time"]) if saves else None,
        records=records,
        problem=problem,
    )


def items_by_identity(values: Params, root: Path) -> dict[str, str]:
    """Short identity → item, in DVC's order. Slow: it reads code and data.

    Raises:
        ConfigurationError: The items have no identity yet, because `prepare` or `encode` did not run.
    """
    return {identity(values, item, root).short: item.name for item in TrainItem.all(values)}


def status_table(values: Params, root: Path) -> Table:
    """All items as a table for a terminal.

    Raises:
        ConfigurationError: The items have no identity yet, because `prepare` or `encode` did not run.
    """
    rows = []
    for short, item in items_by_identity(values, root).items():
        now = read_item_status(root / "state", item, short, values.train.steps)
        left = "" if now.seconds_left is None else f"{now.seconds_left:.0f} s"
        step = f"{now.step}/{values.train.steps}"
        rows.append((now.item, short, step, str(now.durable), str(now.starts), now.problem or now.verdict, left))
    return make_table(("item", "identity", "step", "durable", "starts", "standing", "left"), rows, names=2)


def _records(path: Path) -> tuple[list[Record], str]:
    try:
        return journal.read_journal(path), ""
    except FileNotFoundError:
        return [], ""
    except (CheckpointError, OSError) as error:
        return [], str(error)


def _checkpoints(folder: Path) -> list[int]:
    """Steps that have a checkpoint here; a fetched one may be missing from the execution record."""
    return [int(path.name[5:]) for path in folder.glob("checkpoints/step-*") if path.name[5:].isdecimal()]


def _verdict(folder: Path, last: dict[str, Any]) -> str:
    """The lock tells whether somebody works in the folder; on some shared disks only its own host sees that."""
    path = folder / lock.LOCK_FILE
    if not path.is_file():
        return str(last["verdict"]) if last["event"] == "end" else "killed"
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return "running"
        holder = file.read()
    if last["event"] == "end":
        return str(last["verdict"])
    host = _host(holder)
    return "killed" if host in (None, socket.gethostname()) else f"running on {host}, or killed"


def _host(holder: bytes) -> str | None:
    try:
        return str(json.loads(holder)["host"])
    except (ValueError, KeyError, TypeError):
        return None


def _pace(start: dict[str, Any], folder: Path, step: int) -> float | None:
    """Steps per second from the start to the newest line of the journal."""
    done = step - int(start["step"])
    if done <= 0:
        return None
    written = (folder / journal.JOURNAL_FILE).stat().st_mtime
    if start.get("host") == socket.gethostname() and start.get("uptime", float("inf")) <= events.uptime():
        # Of this machine and since it was booted: its clock may have been set, but not this one.
        spent = events.uptime() - float(start["uptime"]) - max(0.0, time.time() - written)
    else:
        spent = written - datetime.fromisoformat(start["time"]).timestamp()
    return done / spent if spent > 0 else None
