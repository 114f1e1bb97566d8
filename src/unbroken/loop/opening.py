"""The folder of a run in the hands of the one process that writes it: locked, and gone back to where it resumes."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unbroken.checkpoint.reading import CHECKPOINTS_FOLDER
from unbroken.checkpoint.saver import Saver
from unbroken.checkpoint.schedule import SaveSchedule, choose_schedule
from unbroken.checkpoint.state import capture_state, restore_state
from unbroken.checkpoint.store import Checkpoint, CheckpointStore
from unbroken.checkpoint.traits import LiveState
from unbroken.ending import Ending, refusals_have_verdicts
from unbroken.environment import may_start_over, slurm_job, slurm_restart
from unbroken.errors import storage_errors
from unbroken.exact.numerics import NUMERICS_STATE
from unbroken.filesystem import FileSystem
from unbroken.loop.pins import Pins
from unbroken.observers import Observers
from unbroken.preemption import StopFlag
from unbroken.prove.drill import FaultInjector
from unbroken.run_folder.code_digest import source_digest
from unbroken.run_folder.early_end import read_early_end
from unbroken.run_folder.events import Events
from unbroken.run_folder.identity import Identity, has_identity, write_identity
from unbroken.run_folder.journal import JOURNAL_FILE
from unbroken.run_folder.journal_writer import Journal
from unbroken.run_folder.lock import FolderLock
from unbroken.run_folder.verdict import clear_verdict
from unbroken.run_numerics import RunNumerics


@dataclass(frozen=True)
class Settings:
    """How a run uses its folder; `Run` says what each of them means."""

    schedule: SaveSchedule | None
    """None: as often as pays."""
    keep: int
    per_hour: float | None
    background: bool
    observers: Observers
    start_info: Mapping[str, object]
    report: Callable[[str], None]
    lock_timeout: float
    files: FileSystem


class OpenFolder:
    """Lock, checkpoints, journal and events of a run. What was wrong with the start is raised by the constructor."""

    @refusals_have_verdicts()
    def __init__(
        self,
        folder: Path,
        identity: Identity,
        state: LiveState,
        stop: StopFlag,
        faults: FaultInjector,
        numerics: RunNumerics,
        settings: Settings,
    ) -> None:
        """Lock the folder and put the newest good checkpoint into `state`.

        Raises:
            LockedError: Another process works on the folder.
            IdentityError: The folder belongs to another identity.
            CheckpointError: The stored state does not fit `state`.
            StorageError: The disk refused.
        """
        self.step = 0
        """The step that the run goes on from."""
        self._folder, self._identity, self._state = folder, identity, state
        self._faults, self._numerics, self._settings = faults, numerics, settings
        self._release: list[Callable[[], None]] = []
        with storage_errors("make the run folder", folder, "Nothing was changed."):
            folder.mkdir(parents=True, exist_ok=True)
        self.lock = FolderLock(folder, settings.lock_timeout)
        self._release.append(self.lock.release)
        try:
            faults.fire("start")
            self._resume(stop)
            faults.fire("resume", None if self.step else 0)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Leave the folder to the next process."""
        # In this order: the next holder of the lock relies on nobody else writing in the folder.
        while self._release:
            self._release.pop()()

    def restore_again(self, step: int) -> None:
        """Put the state of the checkpoint of `step` back once more.

        Raises:
            CheckpointError: It does not fit, or is damaged by now.
            StorageError: It cannot be read.
        """
        with storage_errors("read the state again", self.store.path(step), "Nothing was changed."):
            checkpoint = self.store.load(step, self._identity.digest)
        # The numerics are those of this start, and the program has no hand in them.
        dropped = {*self._faults.dropped_parts(self._state), NUMERICS_STATE}
        restore_state(checkpoint.snapshot, self._state, dropped)

    def needs_state(self, step: int, saves: bool, pins: Collection[str]) -> bool:
        """Will `record_step` read the state?"""
        is_due = saves and (self.saver.is_due(step) or self._faults.is_due("save", step))
        return is_due or bool(pins) or self._faults.traces

    def record_step(self, step: int, values: Mapping[str, Any], saves: bool, pins: Collection[str] = ()) -> None:
        """The step has ended: write its line of the journal and, if it `saves`, begin a save where one is due.

        It is due with `pins`, names for this step, too: then a killed run goes back to it and needs no older pins.

        Raises:
            LockedError: The folder may be another's by now.
            StorageError: The disk refused the journal.
        """
        self.lock.check_still_held()
        written = self.journal.append(step, values)
        self._faults.trace_state(step, self._state, written)
        self.saver.add_record(written)
        # First the pin: a start that goes on after this step does not pin it again.
        self.pin_step(step, pins)
        if saves:
            self.saver.save_if_due(step, forced=bool(pins) or self._faults.is_due("save", step))
            self._faults.fire("save", step)

    def save_final(self, step: int) -> None:
        """Make the step durable and final.

        Raises:
            StorageError: The disk refused.
        """
        self.saver.save_final(step)
        self.pins.tidy(step)

    def save_early_end(self, step: int, total: int | None) -> None:
        """As `save_final`, of a loop for `total` steps that was left on purpose.

        Raises:
            LockedError: The folder may be another's by now.
            StorageError: The disk refused.
        """
        self.ending.save_early_end(step, total)
        self.pins.tidy(step)

    def pin_step(self, step: int, names: Collection[str]) -> None:
        """Keep the state as it is now, after `step`, under these names.

        Raises:
            StorageError: The disk refused.
        """
        if names:
            self.saver.drain()  # two do not write the history at once, and what is durable now needs no older pins
            snapshot, history = capture_state(self._state, copy=False, ended=True), self.journal.part()
            for name in sorted(names):
                self.pins.save(name, step, snapshot, history, self.saver.last_durable_step)

    def report_numerics(self, step: int, changes: str | None) -> None:
        """Say what became different after `step`, if anything did."""
        if changes:
            self.events.add("numerics", step=step + 1, changes=changes)
            self._settings.report(
                f"Numerics changed at step {step + 1}: {changes}. The run goes on; from here its bits may differ "
                f"from those of a run that stayed where it was, and its results say so."
            )

    def _resume(self, stop: StopFlag) -> None:
        files, report = self._settings.files, self._settings.report
        is_known = has_identity(self._folder, self._identity, files)
        read_early_end(self._folder, files)  # what cannot be read is said now, not where the loop is left
        clear_verdict(self._folder, files)
        self._open_parts(stop)
        begun = time.monotonic()
        checkpoint = self.store.find_latest_good(self._identity.digest, may_start_over())
        if checkpoint is None:
            capture_state(self._state, copy=False)  # what cannot be stored is refused now, not after the first hour
            self.journal.match(None)
        else:
            self._go_back_to(checkpoint)
        # Only now is the folder written to: what could not be read above has left it as it was.
        self.store.tidy()
        self.pins.go_back_to(self.step)
        if not is_known:
            write_identity(self._folder, self._identity, files, report)
        self.journal.cut()
        if checkpoint:
            report(f"Going on from step {self.step} ({checkpoint.path}).")
        self.report_numerics(self.step, self._numerics.begin_segment(self.step))
        self._announce_start(round(time.monotonic() - begun, 3))

    def _open_parts(self, stop: StopFlag) -> None:
        use = self._settings
        self.events = Events(self._folder, use.report, lambda: self.lock.is_at_its_path, use.files)
        self.store = CheckpointStore(
            self._folder / CHECKPOINTS_FOLDER, use.keep, use.files, use.report, self.lock.check_still_held
        )
        self.pins = Pins(self._folder, self._identity.digest, use.files, use.report, self.lock.check_still_held)
        self.journal = Journal(self._folder / JOURNAL_FILE, self.store.folder / JOURNAL_FILE, use.files, use.report)
        self.journal.check_file()
        self.saver = self._new_saver()
        self.ending = Ending(
            self._folder, self.saver, stop, self.lock, self.events, use.observers, use.report, use.files
        )
        self._release += [self.ending.withdraw, self.saver.close]

    def _new_saver(self) -> Saver:
        use = self._settings
        return Saver(
            self.store,
            self._identity.digest,
            self._state,
            self.journal,
            schedule=choose_schedule(use.schedule, self._faults.every, use.per_hour, self.events.past),
            events=self.events,
            observers=use.observers,
            report=use.report,
            background=use.background,
            before_final=self._faults.trace_end,
        )

    def _go_back_to(self, checkpoint: Checkpoint) -> None:
        restore_state(checkpoint.snapshot, self._state, self._faults.dropped_parts(self._state))
        self.journal.match(checkpoint.journal)
        self.step = checkpoint.step
        self.saver.resume_from(checkpoint)

    def _announce_start(self, seconds: float) -> None:
        version = source_digest("unbroken")[:12]
        self.events.add(
            "start",
            step=self.step,
            seconds=seconds,
            lost=self.journal.lost_lines,
            job=slurm_job(),
            job_restart=slurm_restart(),
            unbroken=version,
            **self._settings.start_info,
        )
        self._settings.observers.started(self.step)
        self.saver.publish_resumed()
