"""What a run knows of its saves: when they are due, what became of them, who is told."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TypeVar

from unbroken.checkpoint.differences import name_places
from unbroken.checkpoint.room import advise_on_space, lacks_space, make_room
from unbroken.checkpoint.schedule import SaveSchedule
from unbroken.checkpoint.state import Holder, Snapshot, capture_state
from unbroken.checkpoint.store import Checkpoint, CheckpointStore
from unbroken.checkpoint.traits import LiveState
from unbroken.checkpoint.writer import SaveRequest, SaveResult, Writer
from unbroken.errors import StorageError, UnbrokenError
from unbroken.observers import Observers
from unbroken.run_folder.events import Events
from unbroken.run_folder.journal import Record
from unbroken.run_folder.journal_writer import Journal
from unbroken.run_folder.stored_journal import StoredJournal

TOLD_AT_ONCE = 10_000
"""Records that observers are given in one call after a resume, which tells them everything again."""
T = TypeVar("T")
_Accept = Callable[[SaveRequest, Snapshot, float], None]


class Saver:
    """Hands states to the writer and passes on what became of them, always in the loop's thread."""

    def __init__(
        self,
        store: CheckpointStore,
        identity: str,
        state: Mapping[str, Holder],
        journal: Journal,
        *,
        schedule: SaveSchedule,
        events: Events,
        observers: Observers,
        report: Callable[[str], None],
        background: bool,
        before_final: Callable[[int], None] = lambda _step: None,
    ) -> None:
        """`before_final` is told the step that the loop ends with, before it is made final."""
        self.last_durable_step = 0
        """The last step that is safe on disk; the writing thread sets it."""
        self.final_step: int | None = None
        """The step of the final checkpoint, once there is one: the end of a run, and where a longer one goes on."""
        self._store, self._identity, self._state, self._journal = store, identity, state, journal
        self._schedule, self._events, self._observers, self._report = schedule, events, observers, report
        self._writer = Writer(self._write, background)
        self._submitted, self._before_final = 0, before_final
        self._asked, self._is_due = 0, False
        self._prepared = not background
        self._has_outgrown = False
        """Was it said that what is saved cannot be put back into what the program builds?"""
        self._pending: list[Record] = []
        """Records that observers are told of once they are durable."""
        self._resumed: StoredJournal | None = None

    def resume_from(self, checkpoint: Checkpoint) -> None:
        """The run goes on from here; its observers are given everything again."""
        self.last_durable_step = self._submitted = checkpoint.step
        self.final_step = checkpoint.step if checkpoint.manifest.pinned else None
        self._resumed = checkpoint.journal

    def publish_resumed(self) -> None:
        """Say what the checkpoint lacks, and tell the observers what is durable at the start."""
        if isinstance(self._state, LiveState) and self._state.gained:
            places = name_places(self._state.gained)
            self._events.add("representation", step=self.last_durable_step, gained=places)
            self._report(
                f"The checkpoint of step {self.last_durable_step} lacks {places}, since another version wrote it; all "
                "that it has came back as it was stored, and the run goes on with the new as it was built."
            )
        if self._resumed and self._observers:
            self._publish_history(self._resumed)

    def _publish_history(self, stored: StoredJournal) -> None:
        """Some of it at a time: it may be longer than the memory."""
        records = stored.records()
        try:
            while batch := list(islice(records, TOLD_AT_ONCE)):
                self._observers.committed(self.last_durable_step, batch)
        except (OSError, UnbrokenError) as error:  # the training does not need it
            self._report(f"Observers were not told of the steps before {self.last_durable_step}: {error}")

    def add_record(self, record: Record) -> None:
        """A step has ended and is in the journal."""
        if self._observers:
            self._pending.append(record)
        self._collect(self._writer.take_results())
        if not self._prepared:
            self._prepared = True
            self._writer.prepare(capture_state(self._state, copy=False))
        self._report_refusal()

    def is_due(self, step: int) -> bool:
        """Is a save due after this step? The same answer until the next."""
        if step != self._asked:
            self._asked, self._is_due = step, self._schedule.is_due(step)
        return self._is_due

    def save_if_due(self, step: int, forced: bool = False) -> None:
        """Begin a save if one is due. A disk that refuses costs this save only."""
        if self.is_due(step) or forced:
            self._request_save(step, self._writer.submit)
            self._collect(self._writer.take_results())
            self._report_refusal()

    def save_now(self, step: int, pinned: bool, verify: bool = True) -> None:
        """Make the step durable before this returns.

        Raises:
            StorageError: The disk refused.
        """
        self._request_save(step, self._writer.write, pinned, verify)
        self._collect(self._writer.drain(), required_step=step)
        self._report_refusal()

    def save_final(self, step: int) -> None:
        """Make the step durable, as the end of the run, unless it is already; then older ends are ordinary.

        Raises:
            StorageError: The disk refused.
        """
        self._before_final(step)
        self._await_submitted(step)
        if step == self.final_step:
            pass
        elif 0 < step == self.last_durable_step:
            self.with_room(f"pin that of step {step}", partial(self._store.pin, step))
            self.final_step = step
        else:
            self.save_now(step, pinned=True)
        self._store.unpin_older(step)

    def save_for_stop(self, step: int) -> None:
        """Make the step durable unless it is already.

        Raises:
            StorageError: The disk refused.
        """
        self._await_submitted(step)
        if step > self.last_durable_step:
            # The grace period is short: older checkpoints stay, and the next start checks this one before use.
            self.save_now(step, pinned=False, verify=False)

    def drain(self) -> None:
        """Finish what is under way; nothing is raised."""
        for result in self._writer.drain():
            try:
                self._collect([result])
            except Exception as error:  # the run is ending for another reason already
                self._report(f"The save of step {result.request.step} failed: {error}")
        self._report_refusal()

    def _report_outgrown(self, step: int) -> None:
        places = self._state.outgrown if isinstance(self._state, LiveState) else ()
        if places and not self._has_outgrown:
            self._has_outgrown = True
            self._events.add("structure", step=step, changed=name_places(places))
            self._report(
                f"The save of step {step} does not fit what the program built at its start: {name_places(places)}, as "
                "built and now. A start that builds the same again is refused. Next: build all of it before `with "
                "Run(…)`; or build there what the loop has after `Run.peek(folder).step` steps."
            )

    def _report_refusal(self) -> None:
        if refusal := self._writer.take_refusal():
            self._report(
                f"Checkpoints are no longer written beside the loop: {refusal}. The run goes on and waits for each of "
                "them. Next: give it more memory or processes, or say `Run(background=False)`, if that costs too much."
            )

    def close(self) -> None:
        """End the writing thread; nothing touches the folder afterwards."""
        self._writer.close()
        self._journal.close()

    def _await_submitted(self, step: int) -> None:
        if step == self._submitted:
            self._collect(self._writer.drain())

    def _request_save(self, step: int, accept: _Accept, pinned: bool = False, verify: bool = True) -> None:
        begun = time.monotonic()
        self._submitted = step
        live = capture_state(self._state, copy=False, ended=pinned)
        self._report_outgrown(step)
        self._store.check_owner()
        accept(SaveRequest(step, self._journal.part(), pinned, verify), live, begun)

    def with_room(self, what: str, action: Callable[[], T]) -> T:
        """Do what the run cannot end without; on a full disk older checkpoints make room for it, which is reported."""
        return make_room(self._store, what, action, self._report)

    def _write(self, request: SaveRequest, snapshot: Snapshot) -> Path:
        step, given = request.step, (request.journal, request.pinned, request.verify)
        save = partial(self._store.save, step, snapshot, self._identity, *given)
        is_periodic = request.verify and not request.pinned
        path = make_room(self._store, f"save that of step {step}", save, self._report, spares_keep=is_periodic)
        self.last_durable_step = request.step
        return path

    def _collect(self, results: Sequence[SaveResult], required_step: int | None = None) -> None:
        for result in results:
            step, error = result.request.step, result.error
            if isinstance(error, StorageError) and step != required_step:
                advice = advise_on_space(self._store) if lacks_space(error) else ""
                self._report(f"{error} The training goes on without this checkpoint.{advice}")
                self._events.add("checkpoint-failed", step=step)
            elif error is not None:
                raise error
            elif result.path is None:
                self._events.add("checkpoint-superseded", step=step)
            else:
                self._record_saved(result)

    def _record_saved(self, result: SaveResult) -> None:
        self._schedule.record_cost(result)
        if result.request.pinned:
            self.final_step = result.request.step
        costs = {"seconds": round(result.seconds, 4), "blocked": round(result.blocked, 6)}
        self._events.add("checkpoint", step=result.request.step, **costs)
        self._tell_observers(result.request.step)

    def _tell_observers(self, step: int) -> None:
        records = [record for record in self._pending if record["step"] <= step]
        self._pending = self._pending[len(records) :]
        self._observers.committed(step, records)
