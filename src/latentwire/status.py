"""The status of every item of the training matrix, read from its run folder; a running trainer is not disturbed."""

from __future__ import annotations

import fcntl
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from rich.table import Table

from latentwire.console.tables import make_table
from latentwire.errors import ConfigurationError
from latentwire.execution.sessions import read_ending
from latentwire.identities import find_identities
from latentwire.item import TrainItem
from latentwire.journal_sample import sample_journal
from latentwire.params.load import AnyParams
from unbroken.run_folder import events, journal, lock
from unbroken.run_folder.journal import Record
from unbroken.standard_streams import has_reader

SHARE = 4
"""Times the duration of a look: whoever follows sleeps at least that long, lest looking cost the trainer its cores."""
RECENT_SAVES = 9
UNKNOWN = "Which run is an item's is not known yet."


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
    that host can tell, and `unknown` where its folder cannot be read."""
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
    """The journal; of a long one, what its curves need."""
    problem: str = ""
    """Why some or all of the journal is not there to be shown."""
    quiet: float | None = None
    """Seconds since the last step was written; None before the first."""
    started: datetime | None = None
    """When the newest start began."""
    save_gap: float | None = None
    """Usual seconds between two checkpoints of late; None before the second."""

    @property
    def under_way(self) -> bool:
        """Whether it may be training at this moment."""
        return self.verdict.startswith("running")

    def checkpoint_age(self, now: datetime) -> float | None:
        """Seconds since the newest checkpoint became durable, below 0 where a clock was set; None without one."""
        return None if self.saved is None else (now - self.saved).total_seconds()


def read_item_status(state: Path, item: str, identity: str, steps: int) -> ItemStatus:
    """Read the run folder of an item; `identity` is the short digest in its name."""
    folder = state / f"{item}-{identity}"
    try:
        return _read_folder(folder, item, steps)
    except OSError as error:
        problem = f"The run folder cannot be read: {error}. Next: `ls -l {folder}`."
        return ItemStatus(item, 0, 0, 0, "unknown", None, problem=problem)


def _read_folder(folder: Path, item: str, steps: int) -> ItemStatus:
    log = events.read_event_log(folder / events.EVENTS_FILE)
    recorded = log.events
    if not recorded:
        return ItemStatus(item, 0, 0, 0, "not started", None, problem=log.problem)
    sample = sample_journal(folder / journal.JOURNAL_FILE)
    step = sample.last_step
    saves = [event for event in recorded if event["event"] == "checkpoint"]
    durable = max([event["step"] for event in saves] + _checkpoints(folder), default=0)
    starts = [event for event in recorded if event["event"] == "start"]
    ends = [ending for event in recorded if (ending := read_ending(event))]
    verdict = _verdict(folder, recorded[-1])
    running = verdict.startswith("running")
    pace = _pace(starts[-1], sample.written, step) if running and starts else None
    return ItemStatus(
        item,
        step,
        durable,
        len(starts),
        verdict,
        (steps - step) / pace if pace else None,
        preempted=ends.count("preempted"),
        killed=max(0, len(starts) - len(ends) - (running and not read_ending(recorded[-1]))),
        pace=pace,
        saved=datetime.fromisoformat(saves[-1]["time"]) if saves else None,
        records=sample.records,
        problem=" ".join(filter(None, (sample.problem, log.problem))),
        quiet=_age(sample.written) if step else None,
        started=datetime.fromisoformat(starts[-1]["time"]) if starts else None,
        save_gap=_usual_gap(saves),
    )


ReadStatus = Callable[[], Mapping[str, ItemStatus]]
"""Reads the status of every item: short identity, or the name of an item that has none yet → status."""


def read_statuses(
    values: AnyParams, root: Path, identities: Mapping[str, str], item: str | None = None
) -> dict[str, ItemStatus]:
    """The status of all items, or of one, in DVC's order, by the short identity; `identities` has those of the items.

    An item that has none is there by its name. It was not started, unless there are run folders, which may be of other
    parameters.
    """
    names = [known.name for known in TrainItem.all(values) if item in (None, known.name)]
    state, steps = root / "state", values.train.steps
    return {
        identities.get(name, name): read_item_status(state, name, identities[name], steps)
        if name in identities
        else _without_identity(state, name)
        for name in names
    }


def status_reader(values: AnyParams, root: Path, item: str | None = None) -> ReadStatus:
    """What reads the status of all items, or of one, again and again; an identity is computed once.

    It raises a ConfigurationError as long as none of the items has an identity.
    """
    known: dict[str, str] = {}
    missing = "not looked for"

    def read_status() -> dict[str, ItemStatus]:
        nonlocal known, missing
        if missing:
            known, missing = find_identities(values, root, known)
        if not (known if item is None else known.get(item)):
            raise ConfigurationError(missing)
        return read_statuses(values, root, known, item)

    return read_status


def follow_statuses(
    read_status: ReadStatus, seconds: float, waiting: Callable[[str], None]
) -> Iterator[Mapping[str, ItemStatus]]:
    """The status again and again, until every item is finished or nobody reads; what is not there yet is waited for."""
    while True:
        began = time.monotonic()
        try:
            statuses = read_status()
        except ConfigurationError as error:
            waiting(f"Waiting. {error}")
            statuses = {}
        if statuses:
            yield statuses
        if not has_reader() or (statuses and all_finished(statuses)):
            return
        time.sleep(max(seconds, SHARE * (time.monotonic() - began)))


def all_finished(statuses: Mapping[str, ItemStatus]) -> bool:
    """Whether nothing will change any more."""
    return all(now.verdict == "finished" for now in statuses.values())


def status_table(values: AnyParams, root: Path) -> Table:
    """All items as a table for a terminal; under it, why some have no identity, as before `prepare` and `encode`."""
    identities, missing = find_identities(values, root)
    rows = []
    for now in read_statuses(values, root, identities).values():
        left = "" if now.seconds_left is None else f"{now.seconds_left:.0f} s"
        step, short = f"{now.step}/{values.train.steps}", identities.get(now.item, "")
        rows.append((now.item, short, step, str(now.durable), str(now.starts), _standing(now), left))
    table = make_table(("item", "identity", "step", "durable", "starts", "standing", "left"), rows, names=2)
    table.caption = f"{UNKNOWN} {missing}" if missing else None
    return table


def _without_identity(state: Path, item: str) -> ItemStatus:
    """Its run folders may be of other parameters."""
    return ItemStatus(item, 0, 0, 0, "unknown" if any(state.glob(f"{item}-*")) else "not started", None)


def _standing(now: ItemStatus) -> str:
    return f"{now.verdict}. {now.problem}" if now.problem else now.verdict


def _checkpoints(folder: Path) -> list[int]:
    """Steps that have a checkpoint here; a fetched one may be missing from the execution record."""
    return [int(path.name[5:]) for path in folder.glob("checkpoints/step-*") if path.name[5:].isdecimal()]


def _verdict(folder: Path, last: dict[str, Any]) -> str:
    """The lock tells whether somebody works in the folder; on some shared disks only its own host sees that."""
    path, ending = folder / lock.LOCK_FILE, read_ending(last)
    if not path.is_file():
        return ending or "killed"
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return "running"
    if ending:
        return ending
    holder = lock.read_holder(folder)
    if holder is None or holder.host == socket.gethostname():
        return "killed"
    return f"running on {holder.host}, or killed"


def _pace(start: dict[str, Any], written: float, step: int) -> float | None:
    """Steps per second from the start to the newest line of the journal."""
    done = step - int(start["step"])
    if done <= 0:
        return None
    if start.get("host") == socket.gethostname() and start.get("uptime", float("inf")) <= events.uptime():
        # Of this machine and since it was booted: its clock may have been set, but not this one.
        spent = events.uptime() - float(start["uptime"]) - _age(written)
    else:
        spent = written - datetime.fromisoformat(start["time"]).timestamp()
    return done / spent if spent > 0 else None


def _usual_gap(saves: Sequence[dict[str, Any]]) -> float | None:
    pairs = [pair for pair in pairwise(saves) if pair[0].get("restart") == pair[1].get("restart")]
    gaps = [events.elapsed_seconds(*pair) for pair in pairs[-RECENT_SAVES:]]
    return median(gaps) if gaps else None


def _age(written: float) -> float:
    return max(0.0, time.time() - written)
