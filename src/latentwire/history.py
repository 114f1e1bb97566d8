"""`latentwire history ITEM`: one line for each start of an item, and why it ended; it only reads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from latentwire.console.tables import make_table
from latentwire.execution.sessions import KILLED, Session, sessions_from_events
from latentwire.item import TrainItem
from latentwire.params.load import AnyParams, check_choice
from latentwire.status import ItemStatus, read_item_status
from unbroken.run_folder.events import EVENTS_FILE, EventLog, read_event_log

HEADERS = ("run", "start", "began (UTC)", "took", "where", "SLURM job", "from step", "to step", "ended", "lost steps")


@dataclass(frozen=True)
class StartRecord:
    """One start of an item: where it ran, how far it came, and why it ended."""

    session: Session
    reached: int
    """The last step that was done, durable or not."""
    ended: str
    """`finished`, `preempted by SIGTERM`, `killed`, `running`, `failed`."""
    lost: int | None
    """Done steps that the next start had to do again; None where nobody knows."""

    def as_json(self) -> dict[str, Any]:
        """For programs; times in UTC, seconds by a clock that nobody sets."""
        now = self.session
        return {
            "item": now.item,
            "identity": now.identity,
            "start": now.restart,
            "began": now.start.isoformat(),
            "seconds": now.seconds,
            "host": now.host,
            "processes": now.processes,
            "gpus": now.gpus,
            "job": now.job,
            "job_restart": now.job_restart,
            "from_step": now.first_step,
            "to_step": self.reached,
            "ended": self.ended,
            "lost_steps": self.lost,
        }


def read_history(
    values: AnyParams, root: Path, item: str, known: Mapping[str, ItemStatus] | None = None
) -> list[StartRecord]:
    """Every start of an item, of all its runs, the newest last.

    Args:
        values: The parameters.
        root: The repository.
        item: A training of the matrix.
        known: Short identity → status of the runs of which it was read already.

    Raises:
        ConfigurationError: There is no such item.
    """
    check_choice("ITEM", item, [known.name for known in TrainItem.all(values)])
    runs = [run for log in read_own_logs(root, item) if (run := sessions_from_events(log.path.parent.name, log.events))]
    runs.sort(key=lambda run: (min(session.start for session in run), run[0].identity))
    return [record for run in runs for record in _records(root, run, values.train.steps, known or {})]


def read_own_logs(root: Path, item: str) -> list[EventLog]:
    """The events of all runs of an item."""
    paths = (root / "state").glob(f"{item}-*/{EVENTS_FILE}")
    return [read_event_log(path) for path in paths if path.parent.name.rpartition("-")[0] == item]


def _records(root: Path, run: Sequence[Session], steps: int, known: Mapping[str, ItemStatus]) -> Iterator[StartRecord]:
    for session, following in zip(run, [*run[1:], None], strict=True):
        if following is not None:
            lost = following.lost_before
            yield StartRecord(session, following.first_step + (lost or 0), _ending(session, "killed"), lost)
        else:
            now = known.get(session.identity) or read_item_status(root / "state", session.item, session.identity, steps)
            lost = 0 if now.under_way or session.verdict != KILLED else max(0, now.step - now.durable)
            yield StartRecord(session, max(now.step, session.last_step), _ending(session, now.verdict), lost)


def _ending(session: Session, otherwise: str) -> str:
    if session.verdict == KILLED:
        return otherwise
    return f"{session.verdict} by {session.signal}" if session.signal else session.verdict


def history_table(records: Sequence[StartRecord]) -> Table:
    """The starts for a terminal; names are never cut."""
    return make_table(HEADERS, [history_cells(record) for record in records], names=len(HEADERS) - 1)


def history_cells(record: StartRecord) -> list[str]:
    """The texts of a row, below `HEADERS`."""
    now = record.session
    return [
        now.identity,
        str(now.restart + 1),
        f"{now.start:%Y-%m-%d %H:%M:%S}",
        _format_duration(now.seconds),
        _place(now),
        _job(now),
        str(now.first_step),
        str(record.reached),
        record.ended,
        "?" if record.lost is None else str(record.lost),
    ]


def _place(session: Session) -> str:
    """Host, and what of it was used."""
    used = f"{session.gpus} GPU" if session.gpus else f"{session.processes} processes" if session.processes else ""
    return f"{session.host}, {used}" if used else session.host


def _job(session: Session) -> str:
    if session.job is None:
        return ""
    return f"{session.job}, requeued {session.job_restart} times" if session.job_restart else session.job


def _format_duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"
