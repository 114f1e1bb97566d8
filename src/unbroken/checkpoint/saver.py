"""What a run knows of its saves: when they are due, what became of them, who is told."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from unbroken.checkpoint.schedule import SaveSchedule
from unbroken.checkpoint.state import Holder, Snapshot, capture_state
from unbroken.checkpoint.store import Checkpoint, CheckpointStore
from unbroken.checkpoint.writer import SaveRequest, SaveResult, Writer
from unbroken.errors import StorageError
from unbroken.observers import Observers
from unbroken.run_folder.events import Events
from unbroken.run_folder.journal import Journal, Record


class Saver:
    """Hands states to the writer and passes on what became of them, always in the loop's thread."""

    def __init__(
        self,
        store: CheckpointStore,
        identity: str,
        state: Mapping[str, Holder],
        journal: Journal,
        *,
        cadence: SaveSchedule,
        events: Events,
        observers: Observers,
        report: Callable[[str], None],
        background: bool,
    ) -> None:
        self.last_durable_step = 0
        """The last step that is safe on disk; the writing thread sets it."""
        self.final: Path | None = None
        """The final checkpoint, once there is one."""
        self._store, self._identity, self._state, self._journal = store, identity, state, journal
        self._cadence, self._events, self._audience, self._report = cadence, events, observers, report
        self._writer = Writer(self._write, background)
        self._submitted = 0
        self._prepared = not background
        self._pending: list[Record] = []

    def resumed(self, checkpoint: Checkpoint, records: Sequence[Record]) -> None:
        """The run goes on from here; its observers are given everything again."""
        self.last_durable_step = self._submitted = checkpoint.step
        self.final = checkpoint.path if checkpoint.manifest.pinned else None
        self._pending = list(records)

    def publish(self) -> None:
        """Tell the observers what is durable at the start."""
        if self.last_durable_step:
            self._tell(self.last_durable_step)

    def completed(self, step: int, record: Record) -> None:
        """A step has ended and is in the journal."""
        self._pending.append(record)
        self._collect(self._writer.outcomes())
        if not self._prepared:
            self._prepared = True
            self._writer.prepare(capture_state(self._state, copy=False))

    def periodic(self, step: int, forced: bool = False) -> None:
        """Begin a save if one is due. A disk that refuses costs this save only."""
        if self._cadence.due(step) or forced:
            self._hand_over(step, self._writer.submit)
            self._collect(self._writer.outcomes())

    def save(self, step: int, pinned: bool, verify: bool = True) -> None:
        """Durable when this returns. Raises StorageError."""
        self._hand_over(step, self._writer.write, pinned, verify)
        self._collect(self._writer.finish(), must=step)

    def stop(self, step: int) -> None:
        """Make the step durable unless it is. Raises StorageError."""
        if step == self._submitted:
            self._collect(self._writer.finish())
        if step > self.last_durable_step:
            # The grace period is short: older checkpoints stay, and the next start checks this one before use.
            self.save(step, pinned=False, verify=False)

    def settle(self) -> None:
        """Finish what is under way; nothing is raised."""
        for outcome in self._writer.finish():
            try:
                self._collect([outcome])
            except Exception as error:  # the run is ending for another reason already
                self._report(f"The save of step {outcome.order.step} failed: {error}")

    def close(self) -> None:
        """End the writing thread; nothing touches the folder afterwards."""
        self._writer.close()

    def _hand_over(
        self, step: int, to: Callable[[SaveRequest, Snapshot, float], None], pinned: bool = False, verify: bool = True
    ) -> None:
        begun = time.monotonic()
        self._submitted = step
        to(SaveRequest(step, self._journal.content, pinned, verify), capture_state(self._state, copy=False), begun)

    def _write(self, order: SaveRequest, snapshot: Snapshot) -> Path:
        path = self._store.save(order.step, snapshot, self._identity, order.journal, order.pinned, order.verify)
        self.last_durable_step = order.step
        return path

    def _collect(self, outcomes: Sequence[SaveResult], must: int | None = None) -> None:
        for outcome in outcomes:
            step, error = outcome.order.step, outcome.error
            if isinstance(error, StorageError) and step != must:
                self._report(f"{error} The training goes on without this checkpoint.")
                self._events.add("checkpoint-failed", step=step)
            elif error is not None:
                raise error
            elif outcome.path is None:
                self._events.add("checkpoint-superseded", step=step)
            else:
                self._saved(outcome, outcome.path)

    def _saved(self, outcome: SaveResult, path: Path) -> None:
        self._cadence.note(outcome)
        self.final = path if outcome.order.pinned else None
        costs = {"seconds": round(outcome.seconds, 4), "blocked": round(outcome.blocked, 6)}
        self._events.add("checkpoint", step=outcome.order.step, **costs)
        self._tell(outcome.order.step)

    def _tell(self, step: int) -> None:
        records = [record for record in self._pending if record["step"] <= step]
        self._pending = self._pending[len(records) :]
        self._audience.committed(step, records)
