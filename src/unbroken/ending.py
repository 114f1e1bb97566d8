"""How a run ends, for whoever looks at it from outside: verdict, event, observers, in this order and once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NoReturn

from unbroken.checkpoint.saver import Saver
from unbroken.errors import PeerError, UnbrokenError, describe_error
from unbroken.filesystem import FileSystem
from unbroken.observers import Observers
from unbroken.preemption import EXIT_PREEMPTED, Preempted, StopFlag
from unbroken.run_folder.early_end import EARLY_END_FILE, read_early_end, write_early_end
from unbroken.run_folder.events import Events
from unbroken.run_folder.lock import FolderLock
from unbroken.run_folder.verdict import Verdict, announce_verdict, write_verdict

_EXIT_INTERRUPTED = 130  # what a shell makes of SIGINT


class Ending:
    """Writes down what became of the run."""

    def __init__(
        self,
        folder: Path,
        saver: Saver,
        stop: StopFlag,
        lock: FolderLock,
        events: Events,
        observers: Observers,
        report: Callable[[str], None],
        files: FileSystem,
    ) -> None:
        """`files`: the file system of the run."""
        self.is_written = False
        self._folder, self._saver, self._stop = folder, saver, stop
        self._lock, self._events, self._observers, self._report, self._files = lock, events, observers, report, files
        self.withdraw = stop.before_forced_exit(self._record_forced_exit)
        """Do nothing at a forced exit from now on."""

    def write(self, verdict: str, code: int) -> None:
        """Wait for what is being saved, then leave the verdict; signals are ignored from here if one came."""
        self.is_written = True
        self._saver.drain()
        if code and self._stop.is_set():
            self._stop.ignore()
        self._write_verdict(code)
        self._events.add("end", verdict=verdict, step=self._saver.last_durable_step, signal=self._stop.signal)
        self._observers.ended(verdict)

    def write_failure_while_stopping(self, step: int, error: BaseException | None) -> NoReturn:
        """The step after `step` failed, and the stop may be the cause.

        Raises:
            Preempted: Always (exit code 75).
        """
        self._saver.drain()
        durable = self._saver.last_durable_step
        self._report(
            f"The step after {step} failed while the run was being stopped by {self._stop.signal} "
            f"({describe_error(error) if error else error}); the checkpoint of step {durable} is intact."
        )
        self.write("preempted", EXIT_PREEMPTED)
        raise Preempted(f"stopped by {self._stop.signal}; step {durable} is durable") from error

    def write_as_left(self, step: int, error: BaseException | None) -> None:
        """The program leaves the run after `step`, with this error or without one; the first to be written counts.

        Raises:
            Preempted: The error may be due to a stop.
            UnbrokenError: There is no error, but the last steps are not durable.
        """
        if self.is_written:
            return
        if self._stop.is_set() and may_be_due_to_stop(error):
            self.write_failure_while_stopping(step, error)
        elif error is not None and find_exit_code(error):
            self.write_failure(error)
        elif step > self._saver.last_durable_step:  # the program caught what kept the last save from its end
            raise UnbrokenError(
                f"The run in {self._folder} was left at step {step}, of which step {self._saver.last_durable_step} is "
                f"durable. Next: run the same command again; it goes on from there."
            )
        else:
            self.write("finished", 0)

    def save_early_end(self, step: int, total: int | None) -> None:
        """The loop for `total` steps was left in `step`, on purpose: it is the final one.

        Raises:
            LockedError: The folder may be another's by now.
            StorageError: The disk refused.
        """
        self._lock.check_still_held()
        self._saver.with_room(
            f"write down that the loop was left in step {step}",
            lambda: write_early_end(self._folder, step, total, self._files),
        )
        self._saver.save_final(step)
        of_total = "" if total is None else f" of {total}"
        self._report(f"The loop was left in step {step}{of_total}: that is the end of this run.")

    def meets_early_end(self, step: int, total: int | None) -> bool:
        """Did a start before leave the loop for `total` steps in `step`, and make it final?"""
        if self._saver.final_step != step or read_early_end(self._folder, self._files) != (step, total):
            return False
        which = "without end" if total is None else f"for {total} steps"
        self._report(
            f"The loop {which} was left in step {step} by an earlier start: nothing is trained. Next: "
            f"to train on, ask for another number of steps, or `rm {self._folder / EARLY_END_FILE}`."
        )
        return True

    def write_failure(self, error: BaseException) -> None:
        """The program ends with this error, and the verdict has the exit code that follows from it."""
        code = find_exit_code(error)
        self.write("preempted" if code == EXIT_PREEMPTED else "failed" if code else "finished", code)

    def _write_verdict(self, code: int) -> None:
        verdict = Verdict(code, self._saver.last_durable_step, self._stop.signal)
        # A folder whose lock is lost may be another's, which writes its own verdict there.
        folder = self._folder if self._lock.is_at_its_path else None
        announce_verdict(verdict, folder, self._files, self._report)

    def _record_forced_exit(self) -> None:
        self._events.add("forced-exit", step=self._saver.last_durable_step, deadline=self._stop.deadline)
        self._write_verdict(EXIT_PREEMPTED)


def may_be_due_to_stop(error: BaseException | None) -> bool:
    """A stop that reaches the whole process group also kills data workers and other ranks.

    What the program makes of that, such as `sys.exit(1)`, comes again at the next start if the stop was not the cause.
    """
    if error is None or find_exit_code(error) in (0, EXIT_PREEMPTED):
        return False
    return isinstance(error, PeerError) or not isinstance(error, UnbrokenError)


def leave_as_follower(rank: int, stop: StopFlag, error: BaseException | None) -> None:
    """What rank 0 writes down, the others say by their exit code.

    Raises:
        Preempted: The error may be due to a stop.
    """
    if stop.is_set() and may_be_due_to_stop(error):
        stop.ignore()
        raise Preempted(f"rank {rank} was stopped by {stop.signal}") from error


def find_exit_code(error: BaseException) -> int:
    """What the interpreter exits with if nobody catches the error."""
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    if isinstance(error, KeyboardInterrupt):
        return _EXIT_INTERRUPTED
    return int(getattr(error, "exit_code", 1))


@contextmanager
def refusals_have_verdicts() -> Iterator[None]:
    """A start that is refused leaves its exit code to the script that wants a verdict; the folder is not ours then."""
    try:
        yield
    except BaseException as error:
        with suppress(OSError):
            write_verdict(Verdict(find_exit_code(error), None, None))
        raise
