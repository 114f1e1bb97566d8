"""A run's journal, mirrored into MLflow while it grows; an observer of `unbroken.Run`.

The journal is the truth. A daemon thread does everything that touches MLflow, so MLflow may be slow, locked or gone:
training goes on, the points wait, and what is still missing at the end is sent by the next start or by `aggregate`.
A second thread looks at the machine for `latentwire dashboard`, with MLflow or without.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from latentwire.tracking.origin import note_origin
from latentwire.tracking.runs import Record, TrackedItem, TrackedRun, split_metrics
from latentwire.tracking.sampler import Sampler, find_own_folder
from latentwire.tracking.store import TrackingStore, locate_store, tracking_errors
from latentwire.tracking.system import SystemMetrics

logger = logging.getLogger(__name__)

STATUS = {"finished": "FINISHED", "preempted": "SCHEDULED", "failed": "FAILED"}
TIMEOUT_S = 30.0  # the end of a run waits at most so long for MLflow
PREEMPTED_TIMEOUT_S = 10.0  # the grace period is short, and the next start sends everything
TICK_S = 5.0  # between two looks at the monitor of system metrics
LONGEST_PAUSE_S = 60.0  # between two attempts to reach MLflow
ATTEMPTS_AT_THE_END = 3
PAUSE_AT_THE_END_S = 1.0


class MlflowMirror:
    """Observer of one `unbroken.Run`: one MLflow run, each (metric, step) once, the right status always."""

    def __init__(
        self,
        item: TrackedItem,
        *,
        experiment: str,
        root: Path,
        system_metrics: bool = True,
        timeout: float = TIMEOUT_S,
        report: Callable[[str], None] = logger.warning,
    ) -> None:
        self._item, self._root = item, root
        store = locate_store(root)
        self._where = store.shown
        self._timeout = timeout
        self._report = report
        self._reported: set[str] = set()
        self._sender = _Sender(partial(_open, item, store, experiment, root, report), system_metrics, self._failed)
        self._sampler: Sampler | None = None

    def started(self, step: int) -> None:  # noqa: ARG002 (the protocol of observers)
        """Begin: the run appears in MLflow as running, and the machine is looked at."""
        self._sender.start()
        folder = find_own_folder(self._root, self._item)
        if folder is not None:
            self._sampler = Sampler(self._item, folder, self._report)
            self._sampler.start()

    def committed(self, step: int, records: Sequence[Record]) -> None:  # noqa: ARG002 (the protocol of observers)
        """Hand over records that became durable, some of them perhaps again; returns at once."""
        self._sender.give(records)

    def ended(self, verdict: str) -> None:
        """Wait for MLflow, for a bounded time, and say in a sentence what could not be sent."""
        if self._sampler is not None:
            self._sampler.close()
        if self._sender.ident is None:  # it ended before it started: MLflow knows nothing of it
            return
        preempted = verdict == "preempted"
        self._sender.finish(STATUS[verdict])
        self._sender.join(min(self._timeout, PREEMPTED_TIMEOUT_S) if preempted else self._timeout)
        if not self._sender.complete:
            self._report(self._unsent(verdict))

    def _unsent(self, verdict: str) -> str:
        aggregate = "`python -m latentwire.stages.aggregate`"
        command = aggregate if verdict == "finished" else "the next start of this run"
        return (
            f"MLflow at {self._where} lacks some of '{self._item.name}': {self._sender.waiting()} points "
            f"and the status {STATUS[verdict]} are unsent; the journal has them, and {command} sends them."
        )

    def _failed(self, error: Exception) -> None:
        """Report an error of the sender, once for each kind."""
        kind = type(error.__cause__ or error).__name__
        if kind not in self._reported:
            self._reported.add(kind)
            self._report(f"'{self._item.name}' is not mirrored for now, nothing waits for it: {error}")


def _open(
    item: TrackedItem, store: TrackingStore, experiment: str, root: Path, report: Callable[[str], None]
) -> TrackedRun:
    run = item.open(store, experiment, report)
    note_origin(run, item, root, report)
    return run


class _Sender(threading.Thread):
    """The thread that talks to MLflow: it is given records and at last a status, after which it ends.

    `complete` tells that the status, and so everything before it, was sent.
    """

    def __init__(
        self,
        open_tracked: Callable[[], TrackedRun],
        system_metrics: bool,
        failed: Callable[[Exception], None],
    ) -> None:
        super().__init__(name="mlflow-mirror", daemon=True)
        self.complete = False
        self._open = open_tracked
        self._failed = failed
        self._wants_system = system_metrics
        self._run: TrackedRun | None = None
        self._system: SystemMetrics | None = None
        self._news = threading.Condition()
        self._pending: list[Record] = []
        self._end: str | None = None
        self._failures = 0  # since the last success

    def give(self, records: Sequence[Record]) -> None:
        """Add records to those that are to be sent."""
        with self._news:
            self._pending.extend(records)
            self._news.notify()

    def finish(self, status: str) -> None:
        """Send what is left, then `status`, then end."""
        with self._news:
            self._end = status
            self._news.notify()

    def waiting(self) -> int:
        """Number of points that MLflow is not known to hold."""
        pending = list(self._pending)
        return sum(map(len, map(split_metrics, pending))) if self._run is None else self._run.unsent(pending)

    def run(self) -> None:
        """Send what arrives; after an error wait longer each time; once the end has arrived, give up soon."""
        attempts_left = ATTEMPTS_AT_THE_END
        while not self.complete and attempts_left:
            self._wait()
            attempts_left -= self._end is not None
            try:
                self._send()
                self._failures = 0
            except Exception as error:  # whatever it is, it must not reach the training
                self._failed(error)
                self._failures += 1

    def _wait(self) -> None:
        """Wait for records or the end; in an outage, for the end or until the pause has passed."""
        if self._end is not None and self._failures:
            time.sleep(PAUSE_AT_THE_END_S)
        with self._news:
            self._news.wait_for(
                lambda: self._end is not None or (self._pending and not self._failures), timeout=self._pause()
            )

    def _pause(self) -> float:
        """Seconds until the next attempt: at once at the start, longer after each failure."""
        if self._failures:
            return float(min(2**self._failures, LONGEST_PAUSE_S))
        return 0.0 if self._run is None else TICK_S

    def _send(self) -> None:
        """Bring MLflow up to date with what has arrived; after an error another call goes on from there.

        Raises:
            TrackingError: MLflow failed.
        """
        if self._run is None:
            self._run = self._open()
        with tracking_errors(self._run.experiment.store):
            end = self._end  # read before the records: then all that came before the end are among them
            batch = list(self._pending)
            self._run.resume()
            self._run.send(batch)
            with self._news:
                del self._pending[: len(batch)]
            self._watch_system(self._run, end is not None)
            if end is not None:
                self._run.close(end)
                self.complete = True

    def _watch_system(self, run: TrackedRun, over: bool) -> None:
        """Keep the system metrics going and stop them at the end; their failing costs only them."""
        if not self._wants_system:
            return
        try:
            self._system = self._system or SystemMetrics(run)
            if over:
                self._system.stop()
            else:
                self._system.ensure_running()
        except Exception as error:
            self._failed(error)
            self._wants_system = False
