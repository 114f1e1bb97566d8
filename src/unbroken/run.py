"""The loop's one object: resume, step, log, stop.

stop = StopFlag.install()
with Run(folder, identity=identity, state={"model": model, "optimizer": optimizer}, stop=stop) as run:
    for step in run.steps(1000):
        run.log(**{"train/loss": train(step)})
    run.export(target)
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from types import TracebackType
from typing import NoReturn

from unbroken.checkpoint.export import export_checkpoint
from unbroken.checkpoint.saver import Saver
from unbroken.checkpoint.schedule import Every, FixedSchedule, SaveSchedule, choose_schedule
from unbroken.checkpoint.state import Holder, capture_state, restore_state
from unbroken.checkpoint.store import Checkpoint, CheckpointStore
from unbroken.checkpoint.traits import LiveState
from unbroken.ending import Ending, find_exit_code, leave_as_follower, refusals_have_verdicts
from unbroken.environment import may_start_over
from unbroken.errors import UnbrokenError, log_sentence, storage_errors
from unbroken.exact.group import SOLO, Group
from unbroken.exact.numerics import NUMERICS_STATE, NumericsInfo
from unbroken.exact.randomness import reseeded
from unbroken.filesystem import FileSystem
from unbroken.observers import Observer, Observers
from unbroken.preemption import EXIT_PREEMPTED, StopFlag
from unbroken.processes.sync import broadcast_state, check_same_state, run_on_rank_zero
from unbroken.prove.drill import FaultInjector
from unbroken.run_folder.code_digest import source_digest
from unbroken.run_folder.events import Events
from unbroken.run_folder.identity import Identity, has_identity, write_identity
from unbroken.run_folder.journal import JOURNAL_FILE, Journal, parse_journal, to_numbers
from unbroken.run_folder.lock import FolderLock
from unbroken.run_folder.verdict import clear_verdict
from unbroken.run_numerics import add_numerics

__all__ = ["Observer", "Run"]

CHECKPOINTS_FOLDER = "checkpoints"


class Run:
    """A training run that lives in a folder and continues where it stopped, in the same bytes."""

    def __init__(
        self,
        folder: Path,
        *,
        identity: Identity,
        state: Mapping[str, Holder],
        stop: StopFlag,
        group: Group | None = None,
        numerics: NumericsInfo | None = None,
        every: Every = 100,
        keep: int = 3,
        preemptions_per_hour: float | None = None,
        background: bool = True,
        observers: Sequence[Observer] = (),
        start_info: Mapping[str, object] | None = None,
        report: Callable[[str], None] = log_sentence,
        lock_timeout: float = 5.0,
        files: FileSystem | None = None,
    ) -> None:
        """Describe the run; nothing is touched before `with`.

        Args:
            folder: Where the run lives; made when it is missing.
            identity: What defines the run. A folder that belongs to another identity is refused.
            state: Everything that changes from step to step. The global random generators are added to it.
            stop: The process's stop flag.
            group: The processes of this training, from `join_group`. Rank 0 alone reads and writes the folder; the
                others get its state, and all leave at one step. With a group, even of one, every step starts with
                global generators that do not depend on what was drawn in the step before, so that N leaves no trace.
            numerics: What the bits depend on besides the identity. None: torch's version, its threads, processor and
                GPU, as they are in each step. A resume under other facts goes on, is reported, and is kept as a segment
                in the state `numerics`. {}: nothing is recorded.
            every: Steps between two checkpoints, or "auto": as often as pays (Young/Daly), from the measured cost of
                a save and `preemptions_per_hour`.
            keep: Periodic checkpoints that are kept; the final one is kept besides.
            preemptions_per_hour: For "auto"; None estimates it from the run's own events.
            background: Block the loop only for a copy of the state, at twice its size in memory. Otherwise the loop
                waits until each checkpoint is durable.
            observers: Told what becomes of the run, such as trackers and progress bars.
            start_info: More fields for the `start` event, about this execution, such as the image that it runs from.
            report: Receives one sentence for each thing that the user should know.
            lock_timeout: Seconds to wait for a predecessor that still holds the folder.
            files: The file system; replaced only to inject faults.
        """
        self._schedule: SaveSchedule | None = None if every == "auto" else FixedSchedule(every)
        self.folder, self.identity = Path(folder), identity
        self.stop, self.step = stop, 0
        self._group, self._reseeds = group or SOLO, group is not None
        self._state = LiveState(state)
        self._numerics = add_numerics(self._state, numerics)
        self._keep, self._per_hour, self._background = keep, preemptions_per_hour, background
        self._report, self._lock_timeout = report, lock_timeout
        self._files = files or FileSystem()
        self._observers, self._start_info = Observers(observers, report), dict(start_info or {})
        self._record: dict[str, object] | None = None
        self._asked: int | None = None
        self._resumed: int | None = None
        self._replays = self._is_left = self._compared = False
        self._saver: Saver | None = None

    @property
    def last_durable_step(self) -> int:
        """The last step that is safe on disk; 0 before the first checkpoint."""
        return self._saver.last_durable_step if self._saver else 0

    @property
    def restart(self) -> int:
        """How often this run was started before."""
        return self._events.restart

    @property
    def final(self) -> Path:
        """The folder of the final checkpoint: that of the last step.

        Raises:
            UnbrokenError: The run is not finished, or is past all the steps that were asked for.
        """
        if self._is_left and self._group.size == 1:  # of several, one alone may ask
            self._end_left_loop()
        self._check_not_past()
        if self._saver is None or self._saver.final_step != self.step:
            raise UnbrokenError(
                f"The run in {self.folder} has no final checkpoint yet: it is at step {self.step}. "
                f"Next: let `for step in run.steps(total)` reach its end."
            )
        return self._store.path(self.step)

    def __enter__(self) -> Run:
        """Lock the folder and go back to the newest good checkpoint. What fails is raised on every rank.

        Raises:
            LockedError: Another process works on the folder.
            IdentityError: The folder belongs to another identity.
            CheckpointError: The stored state does not fit `state`.
            StorageError: The disk refused.
        """
        self._numerics.gather(self._group)
        self._faults = FaultInjector(self.folder, self._group.rank)
        run_on_rank_zero(self._group, self._open)
        try:
            self.step = broadcast_state(self._group, self.step, self._state)
        except BaseException:
            if not self._is_follower:
                self._close()
            raise
        self._resumed = self.step
        return self

    @property
    def _is_follower(self) -> bool:
        return self._group.rank > 0

    @refusals_have_verdicts()
    def _open(self) -> None:
        with storage_errors("make the run folder", self.folder, "Nothing was changed."):
            self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = FolderLock(self.folder, self._lock_timeout)
        try:
            self._faults.fire("start")
            self._resume()
            self._faults.fire("resume", None if self.step else 0)
        except BaseException:
            self._close()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None or find_exit_code(error) == 0:
                self._end_left_loop()
                self._check_not_past()
            if self._is_follower:
                leave_as_follower(self._group.rank, self.stop, error)
            else:
                self._ending.write_as_left(self.step, error)
        except BaseException as failure:
            if not self._is_follower:
                self._ending.write_as_left(self.step, failure)
            raise
        finally:
            if not self._is_follower:
                self._close()

    def _end_left_loop(self) -> None:
        # After `break` the step counts, and is the last. It may have been meant for a stop: then it is repeated.
        if self._record is None:
            return
        if self.stop.is_set_on_any(self._group):
            run_on_rank_zero(self._group, lambda: self._ending.write("preempted", EXIT_PREEMPTED))
            self.stop.leave(f"left in step {self.step + 1} while being stopped; run the same command to go on")
        total = self._asked or 0
        self._finish_step(total)
        run_on_rank_zero(self._group, lambda: self._ending.save_early_end(self.step, total))

    def steps(self, total: int) -> Iterator[int]:
        """The steps that are left of `total`, counted from 1. Between two of them it saves, and leaves on a stop.

        At its end, step `total` is durable and final; after `break`, the step in which it was left, once the run is
        left without an error or exported. It may be called again with a larger total, such as once for
        each epoch. After a resume, the calls whose steps an earlier start has passed give no step, and what the
        program does to the state between them is undone: an earlier start has done that too.

        Raises:
            Preempted: A stop was asked for, and the state is saved (exit code 75).
            StorageError: The final save, or that of a stop, failed.
        """
        if self._record is not None:
            self._finish_step(total)  # the loop before this one was left by `break`
        self._asked = max(total, self._asked or 0)
        self._was_left_here = self._group.any_rank(
            not self._is_follower and self._ending.meets_early_end(self.step, total)
        )
        if self.step > total:
            self._replays = self.step == self._resumed
            return
        self._end_replay()
        while self.step < total and not self._was_left_here:
            if self.stop.is_set_on_any(self._group):
                self._leave()
            self._record = {}
            self._step_context = reseeded() if self._reseeds else nullcontext()
            self._step_context.__enter__()
            self._faults.fire("step", self.step + 1)
            try:
                yield self.step + 1
            except GeneratorExit:  # `break`, or an exception in the loop
                self._is_left = True
                return
            self._finish_step(total)
        run_on_rank_zero(self._group, lambda: self._saving.save_final(self.step))

    def _end_replay(self) -> None:
        if self._replays:
            self._replays = False
            run_on_rank_zero(self._group, self._restore_again)
            broadcast_state(self._group, self.step, self._state)

    def _restore_again(self) -> None:
        with storage_errors("read the state again", self._store.path(self.step), "Nothing was changed."):
            checkpoint = self._store.load(self.step, self.identity.digest)
        # The numerics are those of this start, and the program has no hand in them.
        restore_state(checkpoint.snapshot, self._state, {*self._faults.dropped_parts(self._state), NUMERICS_STATE})

    def _check_not_past(self) -> None:
        if self._asked is not None and self.step > self._asked:
            raise UnbrokenError(
                f"The run in {self.folder} is at step {self.step} already, past the {self._asked} steps asked for. "
                f"Next: ask for {self.step} or more, or use another folder."
            )

    def log(self, **values: object) -> None:
        """Add numbers to the record of the current step; a name given twice keeps the later value.

        Raises:
            ValueError: A value is not a number, a scalar tensor, a boolean or None.
        """
        if self._record is None:
            raise UnbrokenError("run.log was called outside a step. Next: log inside `for step in run.steps(…)`.")
        self._record.update(to_numbers(values))

    def export(self, target: Path) -> None:
        """Write manifest.json, tensors.safetensors and journal.jsonl of the final state to a folder.

        The bytes do not depend on interruptions. Only rank 0 writes. In a loop over epochs, what an earlier start has
        passed it has exported too: then nothing is written, and a sentence says so.

        Raises:
            UnbrokenError: The run is not finished.
            CheckpointError: The final checkpoint is damaged.
            StorageError: The disk refused.
        """
        if self._is_follower:
            return
        if self._replays:
            self._report(f"{target} is left as it is: step {self._asked} was passed by an earlier start of this run.")
            return
        step = int(self.final.name.removeprefix("step-"))
        with storage_errors("read the final state", self.final, "Nothing was changed."):
            final = self._store.load(step, self.identity.digest, keep=False)
        export_checkpoint(final, Path(target), self._files)

    @property
    def _saving(self) -> Saver:
        if self._saver is None:
            raise UnbrokenError("This Run was not entered. Next: use it in `with Run(…) as run:`.")
        return self._saver

    def _resume(self) -> None:
        is_known = has_identity(self.folder, self.identity, self._files)
        with storage_errors("remove the old verdict", self.folder, "Checkpoints in this folder are intact."):
            clear_verdict(self.folder, self._files)
        self._events: Events = Events(self.folder, self._report, lambda: self._lock.is_at_its_path, self._files)
        self._store = CheckpointStore(
            self.folder / CHECKPOINTS_FOLDER, self._keep, self._files, self._report, self._lock.check_still_held
        )
        self._journal = Journal(self.folder / JOURNAL_FILE, self._files, self._report)
        self._saver = self._new_saver()
        self._ending = Ending(
            self.folder, self._saver, self.stop, self._lock, self._events, self._observers, self._report, self._files
        )
        begun = time.monotonic()
        checkpoint = self._store.find_latest_good(self.identity.digest, may_start_over())
        if checkpoint is None:
            capture_state(self._state, copy=False)  # what cannot be stored is refused now, not after the first hour
            self._journal.match(b"")
        else:
            self._go_back_to(checkpoint)
        # Only now is the folder written to: what could not be read above has left it as it was.
        self._store.tidy()
        if not is_known:
            write_identity(self.folder, self.identity, self._files, self._report)
        self._journal.cut()
        if checkpoint:
            self._report(f"Going on from step {self.step} ({checkpoint.path}).")
        self._report_numerics(self._numerics.begin_segment(self.step))
        spent, version = round(time.monotonic() - begun, 3), source_digest("unbroken")[:12]
        self._events.add("start", step=self.step, seconds=spent, unbroken=version, **self._start_info)
        self._observers.started(self.step)
        self._saver.publish_resumed()

    def _new_saver(self) -> Saver:
        return Saver(
            self._store,
            self.identity.digest,
            self._state,
            self._journal,
            schedule=choose_schedule(self._schedule, self._faults.every, self._per_hour, self._events.past),
            events=self._events,
            observers=self._observers,
            report=self._report,
            background=self._background,
        )

    def _go_back_to(self, checkpoint: Checkpoint) -> None:
        restore_state(checkpoint.snapshot, self._state, self._faults.dropped_parts(self._state))
        self._journal.match(checkpoint.journal)
        records = parse_journal(checkpoint.journal, str(checkpoint.path / JOURNAL_FILE))
        self.step = checkpoint.step
        self._saving.resume_from(checkpoint, records)

    def _report_numerics(self, changes: str | None) -> None:
        if changes and not self._is_follower:
            self._events.add("numerics", step=self.step + 1, changes=changes)
            self._report(
                f"Numerics changed at step {self.step + 1}: {changes}. The run goes on; from here its bits may differ "
                f"from those of a run that stayed where it was, and its results say so."
            )

    def _check_ranks_agree(self) -> None:
        # Once in each start: drift is caused by the program, and shows after its first step.
        if self._group.size > 1 and not self._compared:
            self._compared = True
            check_same_state(self._group, self.step, capture_state(self._state, copy=False))

    def _finish_step(self, total: int) -> None:
        self._step_context.__exit__(None, None, None)
        self._faults.fire("end", self.step + 1)
        record, self._record = self._record or {}, None
        self._report_numerics(self._numerics.look_again(self.step, self._group))
        self.step += 1
        if not self._is_follower:
            self._record_step(record, total)
        self._check_ranks_agree()

    def _record_step(self, record: dict[str, object], total: int) -> None:
        self._lock.check_still_held()
        written = self._journal.append(self.step, record)
        self._faults.trace_state(self.step, self._state, written)
        self._saving.add_record(written)
        if self.step < total and not self.stop.is_set():  # else the next thing is to leave, with a save of its own
            self._saving.save_if_due(self.step, forced=self._faults.is_due("save", self.step))
            self._faults.fire("save", self.step)

    def _leave(self) -> NoReturn:
        run_on_rank_zero(self._group, self._save_and_end)
        self.stop.leave(f"stopped by {self.stop.signal} after step {self.step}; run the same command to go on")

    def _save_and_end(self) -> None:
        self._saving.save_for_stop(self.step)
        self._ending.write("preempted", EXIT_PREEMPTED)

    def _close(self) -> None:
        # In this order: the next holder of the lock relies on nobody else writing in the folder.
        if self._saver:
            self._saver.close()
            self._ending.withdraw()
        self._lock.release()
