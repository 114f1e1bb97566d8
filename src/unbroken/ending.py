"""How a run ends, for whoever looks at it from outside: verdict, event, observers, in this order and once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NoReturn

from unbroken.checkpoint.saver import Saver
from unbroken.errors import PeerError, UnbrokenError, errno_name
from unbroken.filesystem import FileSystem
from unbroken.observers import Observers
from unbroken.preemption import EXIT_PREEMPTED, Preempted, StopFlag
from unbroken.run_folder.events import Events
from unbroken.run_folder.lock import FolderLock
from unbroken.run_folder.verdict import Verdict, write_verdict

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
            f"({type(error).__name__}: {error}); the checkpoint of step {durable} is intact."
        )
        self.write("preempted", EXIT_PREEMPTED)
        raise Preempted(f"stopped by {self._stop.signal}; step {durable} is durable") from error

    def write_failure(self, error: BaseException) -> None:
        """The program ends with this error, and the verdict has the exit code that follows from it."""
        code = find_exit_code(error)
        self.write("preempted" if code == EXIT_PREEMPTED else "failed" if code else "finished", code)

    def _write_verdict(self, code: int) -> None:
        verdict = Verdict(code, self._saver.last_durable_step, self._stop.signal)
        try:
            # A folder whose lock is lost may be another's, which writes its own verdict there.
            write_verdict(verdict, self._folder if self._lock.is_at_its_path else None, self._files)
        except OSError as error:
            self._report(f"The verdict in {self._folder} could not be written: {errno_name(error)}.")

    def _record_forced_exit(self) -> None:
        self._events.add("forced-exit", step=self._saver.last_durable_step, deadline=self._stop.deadline)
        self._write_verdict(EXIT_PREEMPTED)


def may_be_due_to_stop(error: BaseException | None) -> bool:
    """A stop that reaches the whole process group also kills data workers and other ranks."""
    return isinstance(error, Exception) and (isinstance(error, PeerError) or not isinstance(error, UnbrokenError))


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
