"""The loop's one object: resume, step, log, stop.

stop = StopFlag.install()
with Run(folder, identity=identity, state={"model": model, "optimizer": optimizer}, stop=stop) as run:
    for step in run.steps(1000):
        run.log(**{"train/loss": train(step)})
    run.export(target)
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from unbroken.arguments import check_count, check_kind, check_names, check_number, wrong_argument
from unbroken.checkpoint.export import export_checkpoint
from unbroken.checkpoint.schedule import Every, FixedSchedule, check_rate
from unbroken.checkpoint.state import Holder
from unbroken.checkpoint.traits import LiveState
from unbroken.ending import find_exit_code, leave_as_follower
from unbroken.errors import ArgumentError, UnbrokenError, log_sentence, storage_errors
from unbroken.exact.group import SOLO, Group
from unbroken.exact.numerics import NumericsInfo
from unbroken.filesystem import FileSystem
from unbroken.loop.epochs import EpochLoop
from unbroken.loop.opening import OpenFolder, Settings
from unbroken.loop.peek import RunStatus, peek_run
from unbroken.loop.pins import check_pin_name
from unbroken.observers import Observer, Observers
from unbroken.preemption import StopFlag
from unbroken.processes.sync import broadcast_state, run_on_rank_zero
from unbroken.prove.drill import FaultInjector
from unbroken.run_folder.identity import Identity
from unbroken.run_numerics import add_numerics

__all__ = ["Observer", "Run"]


class Run(EpochLoop):
    """A training run that lives in a folder and continues where it stopped, in the same bytes."""

    def __init__(
        self,
        folder: Path,
        *,
        identity: Identity,
        state: Mapping[str, Holder],
        stop: StopFlag,
        group: Group | None = None,
        per_rank: Mapping[str, Holder] | None = None,
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
            per_rank: What differs between the processes by design, such as the statistics of a BatchNorm, a generator
                or a cursor of each: stored for all of them, given back to each, and not compared. A tensor may stand
                in `state` too. It is resumed by as many processes only.
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

        Raises:
            ArgumentError: One of them cannot be what is meant.
        """
        _check_parts(state, per_rank)
        check_kind(identity, "identity", Identity, 'Run(identity=Identity({"lr": 0.1}))')
        check_kind(stop, "stop", StopFlag, "stop = StopFlag.install() at the top of the program, and Run(stop=stop)")
        check_kind(group or SOLO, "group", Group, "Run(group=join_group(stop)), or leave it out")
        check_kind(numerics or {}, "numerics", Mapping, "leave it out, or Run(numerics={})")
        check_kind(start_info or {}, "start_info", Mapping, "Run(start_info={name: value})")
        check_number(lock_timeout, "lock_timeout", 0.0, "Run(lock_timeout=5.0)")
        keep = check_count(keep, "keep", 1, "Run(keep=3): a run without checkpoints cannot resume")
        if not callable(report):
            raise wrong_argument("report", report, "a function of one sentence", "leave it out, or Run(report=print)")
        _check_path(folder)
        folder = Path(os.path.abspath(folder))  # the loop may change its directory
        super().__init__(folder, LiveState(state), stop, group or SOLO, per_rank, reseeds=group is not None)
        self.identity = identity
        self._numerics = add_numerics(self._state, numerics)
        if preemptions_per_hour is not None:
            check_rate(preemptions_per_hour)
        self._settings = Settings(
            None if every == "auto" else FixedSchedule(every),
            keep,
            preemptions_per_hour,
            background,
            Observers(_list_observers(observers), report),
            dict(start_info or {}),
            report,
            lock_timeout,
            files or FileSystem(),
        )

    @property
    def restart(self) -> int:
        """How often this run was started before."""
        return self._folder.events.restart

    def __enter__(self) -> Run:
        """Lock the folder and go back to the newest good checkpoint. What fails is raised on every rank.

        Raises:
            LockedError: Another process works on the folder.
            IdentityError: The folder belongs to another identity.
            CheckpointError: The stored state does not fit `state`.
            StorageError: The disk refused.
        """
        self._owner.check_is_this_process(self.folder)
        self._owner.claim()
        self._agreement.meet(f"enters the run with {self._ranks.describe_own()}")
        self._ranks.begin()
        self._numerics.gather(self._group, self._ranks.read_facts())
        self._faults = FaultInjector(self.folder, self._group.rank)
        self._gradients.open()
        run_on_rank_zero(self._group, self._open)
        try:
            self.step = broadcast_state(self._group, self.step, self._state)
            self._ranks.put_back()
            if self._is_follower and self.step:
                self._faults.dropped_parts(self._state)  # as on rank 0, so that they lose the same random streams
        except BaseException:
            self._close()
            raise
        self._resumed = self.step
        return self

    def _open(self) -> None:
        self._opened = OpenFolder(
            self.folder, self.identity, self._state, self.stop, self._faults, self._numerics, self._settings
        )
        self.step = self._opened.step

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._owner.is_another_process:  # what a fork does with its copy is no end of the run
            return
        try:
            if error is None or find_exit_code(error) == 0:
                self._end_ordinarily()
            if self._is_follower:
                leave_as_follower(self._group.rank, self.stop, error)
            else:
                self._folder.ending.write_as_left(self.step, error)
        except BaseException as failure:
            if not self._is_follower:
                self._folder.ending.write_as_left(self.step, failure)
            raise
        finally:
            self._close()

    def export(self, target: Path, pin: str | None = None) -> None:
        """Write manifest.json, tensors.safetensors and journal.jsonl of the final state to a folder.

        With `pin`, those of the step that has this name. The bytes do not depend on interruptions. Only rank 0 writes.
        Other files in that folder stay. A folder in which a run keeps its own files is refused.
        In a loop over epochs, what an earlier start has passed it has exported too: then nothing is written, and a
        sentence says so.

        Raises:
            UnbrokenError: The run is not finished, or nothing was pinned under this name.
            CheckpointError: The checkpoint is damaged.
            StorageError: The disk refused.
        """
        if self._is_follower:
            return
        if self._replays:
            self._settings.report(
                f"{target} is left as it is: step {self._asked} was passed by an earlier start of this run."
            )
            return
        path = self.final if pin is None else self._find_pin(pin)
        step = int(path.name.removeprefix("step-"))
        with storage_errors("read the state", path, "Nothing was changed."):
            if pin is None:
                checkpoint = self._folder.store.load(step, self.identity.digest, keep=False)
            else:
                checkpoint = self._folder.pins.load(pin, step)
        export_checkpoint(checkpoint, Path(target), self._settings.files)

    def _find_pin(self, name: str) -> Path:
        check_pin_name(name)
        path = self.pinned(name)
        if path is None:
            raise UnbrokenError(
                f"Nothing is pinned as {name!r} in {self.folder} at step {self.step}. Next: call `run.pin({name!r})` "
                "in the step that is to be kept."
            )
        return path

    @staticmethod
    def peek(folder: Path) -> RunStatus:
        """Where the run in this folder would resume; see `peek_run`. Nothing is changed and no lock is taken.

        Raises:
            CheckpointError: Another version wrote the newest checkpoint.
            StorageError: It cannot be read now.
        """
        return peek_run(folder)

    def _close(self) -> None:
        self._gradients.close()
        if self._opened:
            self._opened.close()


def _check_parts(state: Mapping[str, Holder], per_rank: Mapping[str, Holder] | None) -> None:
    advice = 'Run(state={"model": model, "optimizer": optimizer})'
    check_names(state, "state", advice)
    check_names({} if per_rank is None else per_rank, "per_rank", 'Run(per_rank={"cursor": cursor})')
    if not (state or per_rank):
        raise ArgumentError(
            "state is empty, so that nothing of the training but the random generators would be there after a resume. "
            f'Next: {advice}, or {{"progress": {{}}}} for what is computed anew in each step.'
        )


def _list_observers(observers: object) -> list[Any]:
    if not isinstance(observers, Iterable):
        raise wrong_argument("observers", observers, "a list of observers", "Run(observers=[observer])")
    return list(observers)


def _check_path(folder: object) -> None:
    if not isinstance(folder, str | os.PathLike) or folder == "":
        raise wrong_argument("folder", folder, "the path of a folder", 'Run(Path("run"), …)')
