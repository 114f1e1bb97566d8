"""What the page tells: the status, the starts and the readings of every item, from the functions of other commands."""

from __future__ import annotations

import math
import shutil
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from latentwire.history import StartRecord, read_history
from latentwire.machine import size_on_disk
from latentwire.params.load import AnyParams
from latentwire.status import ItemStatus
from latentwire.tracking.readings import READINGS_FILE, Reading, read_readings

NEWEST, OLDER = 300, 400
"""Readings of a run that are kept: all of the newest, and some of those before."""
T = TypeVar("T")


@dataclass(frozen=True)
class ItemFacts:
    """All that is known of an item."""

    identity: str
    """12 hex, of the run that its parameters, data and code make now; empty before `prepare` and `encode`."""
    status: ItemStatus
    steps: int
    """Of the whole training."""
    history: Sequence[StartRecord] = ()
    """Every start of the item, of all its runs, the newest last."""
    readings: Sequence[Reading] = ()
    """Of the machine, while it trained; of many, some."""
    checkpoint_bytes: int | None = None
    """Size of the newest checkpoint; None where nothing is under way."""
    problems: Sequence[str] = ()
    """What could not be read, in sentences."""

    @property
    def starts(self) -> list[StartRecord]:
        """Of this run alone."""
        return [record for record in self.history if record.session.identity == self.identity]


@dataclass(frozen=True)
class Disk:
    """The file system of the run folders."""

    free: int
    total: int
    """Bytes."""


@dataclass(frozen=True)
class Facts:
    """Everything that a page is made of."""

    written: datetime
    host: str
    """Where the page was made."""
    steps: int
    every: int | str
    """Steps between two checkpoints, or `auto`."""
    items: Sequence[ItemFacts]
    """Those that are under way first."""
    disk: Disk | None
    waiting: str = ""
    """Why there are no items yet, in a sentence."""


def gather_facts(values: AnyParams, root: Path, statuses: Mapping[str, ItemStatus], waiting: str = "") -> Facts:
    """Read everything about some items; what cannot be read is a problem of its item, and no error.

    Args:
        values: The parameters.
        root: The repository.
        statuses: Short identity, or the name of an item that has none yet → status.
        waiting: Why there are none, in a sentence.
    """
    ordered = sorted(statuses.items(), key=lambda named: not named[1].under_way)
    return Facts(
        written=datetime.now(UTC),
        host=socket.gethostname(),
        steps=values.train.steps,
        every=values.train.checkpoint.every,
        items=[_gather_item(values, root, identity, status) for identity, status in ordered],
        disk=_read_disk(root),
        waiting=waiting,
    )


def _gather_item(values: AnyParams, root: Path, identity: str, status: ItemStatus) -> ItemFacts:
    identity = "" if identity == status.item else identity
    folder = root / "state" / f"{status.item}-{identity}"
    history, lost_history = _attempt(lambda: read_history(values, root, status.item, {identity: status}), "The history")
    readings, lost_readings = _attempt(lambda: _read_readings(folder), "The readings of the machine")
    size = size_on_disk(folder / "checkpoints" / f"step-{status.durable:08d}") if status.under_way else None
    problems = tuple(filter(None, (status.problem, lost_history, lost_readings)))
    return ItemFacts(identity, status, values.train.steps, history or (), readings or (), size, problems)


def _attempt(action: Callable[[], T], what: str) -> tuple[T | None, str]:
    try:
        return action(), ""
    except OSError as error:
        return None, f"{what} cannot be read: {error}."


def _read_readings(folder: Path) -> Sequence[Reading]:
    try:
        now = (folder / READINGS_FILE).stat()
    except FileNotFoundError:
        return ()
    return _remembered_readings(folder, now.st_size, now.st_mtime_ns)


@lru_cache(maxsize=512)
def _remembered_readings(folder: Path, *_version: int) -> tuple[Reading, ...]:
    readings = read_readings(folder)
    older, newest = readings[:-NEWEST], readings[-NEWEST:]
    return (*older[:: max(1, math.ceil(len(older) / OLDER))], *newest)


def _read_disk(root: Path) -> Disk | None:
    try:
        usage = shutil.disk_usage(root / "state" if (root / "state").is_dir() else root)
    except OSError:
        return None
    return Disk(usage.free, usage.total)


def facts_as_json(facts: Facts) -> dict[str, Any]:
    """The numbers of the page, for programs; those of a start are what `latentwire history --json` prints."""
    return {
        "written": facts.written.isoformat(timespec="seconds"),
        "host": facts.host,
        "steps": facts.steps,
        "waiting": facts.waiting,
        "items": [_item_as_json(item) for item in facts.items],
    }


def _item_as_json(item: ItemFacts) -> dict[str, Any]:
    now = item.status
    names = ("item", "step", "durable", "starts", "preempted", "killed", "verdict", "seconds_left", "pace", "quiet")
    return {
        "identity": item.identity,
        **{name: getattr(now, name) for name in names},
        "saved": now.saved and now.saved.isoformat(),
        "problems": list(item.problems),
        "history": [record.as_json() for record in item.history],
    }
