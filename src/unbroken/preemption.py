"""Signals set a flag, the loop decides, a watchdog keeps the deadline. Imports nothing heavy.

`StopFlag.install()` belongs on the first line of `main`, before torch is imported.
"""

from __future__ import annotations

import atexit
import gc
import io
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr
from multiprocessing import parent_process
from types import FrameType, TracebackType
from typing import NoReturn, Protocol, TextIO

from unbroken import environment
from unbroken.errors import UnbrokenError
from unbroken.run_folder import verdict
from unbroken.standard_streams import is_terminal, occupy_standard_files, print_sentence

EXIT_PREEMPTED = 75
"""EX_TEMPFAIL: checkpointed, run me again."""

OTHER_RANK = "a signal to another rank"
"""Instead of the signal's name, on a process that was asked to stop by the others of its group."""

_EXIT_ACTION_S = 2.0
_LONGEST_SLEEP_S = 1e9  # `sleep` refuses longer ones
_BEFORE_JOB_END_S = 5.0  # our own exit comes this long before SLURM's kill
_TIME_LIMIT_S = 600.0  # a signal this close to the end of the job announces the end; it is no preemption

Signals = signal.Signals  # inside the class, `signal` is the property
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)
_CATCHABLE = frozenset(Signals) - {signal.SIGKILL, signal.SIGSTOP}


class Preempted(SystemExit):
    """Leave with exit code 75. A SystemExit, so that `except Exception` of the caller does not swallow it."""

    def __init__(self, sentence: str = "stopped by a signal") -> None:
        super().__init__(EXIT_PREEMPTED)
        self.sentence = sentence

    def __str__(self) -> str:
        return self.sentence


class StopGroup(Protocol):
    """What stopping needs of a group of processes; `unbroken.exact.group.Group` is one."""

    rank: int

    def any_rank(self, flag: bool, /) -> bool: ...


class StopFlag:
    """Set by the first of TERM, INT, USR1, USR2; read by the loop between two steps.

    A flag that was made without `install` catches no signal; tests set it with `set`.
    """

    _installed: StopFlag | None = None

    def __init__(self, deadline: float | None = None) -> None:
        """`deadline`: seconds from the first signal to a forced exit.

        None reads UNBROKEN_DEADLINE_S; without that it is 90 s or, when SLURM ends the job within ten minutes of
        the signal, all the time until then. It is never later than 5 s before the end of the job.
        """
        self._given = environment.read_deadline_s() if deadline is None else _check_deadline(deadline)
        self._job_end = environment.job_end()
        self.deadline = environment.DEFAULT_DEADLINE_S if self._given is None else self._given
        self._signal: str | None = None
        self._since: float | None = None
        self._signals: tuple[Signals, ...] = ()
        self._exit_actions: list[Callable[[], None]] = []
        self._wake: int | None = None

    @classmethod
    def install(cls, signals: Sequence[Signals] = SIGNALS, deadline: float | None = None) -> StopFlag:
        """Catch the signals from now on. A second call returns the flag that is already installed.

        An `UnbrokenError` that nobody catches then ends the process with its own exit code and one sentence, and a
        signal during the interpreter's shutdown does not change the exit code.

        Raises:
            UnbrokenError: The first call is not in the main thread, where alone Python can catch signals; one of the
                signals cannot be caught; or the deadline is no number of seconds above 0.
        """
        if StopFlag._installed is None:
            _check_main_thread()
            _say_uncaught_errors()  # those of this call too, such as of a deadline that is none
            caught = _check_signals(signals)
            flag = cls(deadline)
            occupy_standard_files()  # or what libraries print would go to the watchdog, as signals
            flag._listen(caught)
            atexit.register(flag.ignore)  # the first to be registered runs last: all others may still be stopped
            StopFlag._installed = flag
        return StopFlag._installed

    @property
    def signal(self) -> str | None:
        """Name of the first signal, such as `SIGTERM`."""
        return self._signal

    @property
    def remaining(self) -> float:
        """Seconds left before the forced exit; the whole deadline until a signal comes."""
        since = self._since
        return self.deadline if since is None else max(0.0, self.deadline - (time.monotonic() - since))

    def is_set(self) -> bool:
        """Has anyone asked us to stop?"""
        return self._signal is not None

    def set(self, name: str) -> None:
        """Ask to stop, as a signal of this name would; only the first counts."""
        if self._signal is None:
            self._since = time.monotonic()
            self.deadline = self._deadline_from(time.time())
            self._signal = name
            if self._wake is not None:
                os.write(self._wake, b"\0")  # the watchdog starts to count even when no signal came

    def _deadline_from(self, now: float) -> float:
        left = (self._job_end or 0.0) - now - _BEFORE_JOB_END_S
        if left <= 0:  # not in a job, or the clock is wrong: then it says nothing
            return self.deadline
        if self._given is None and left <= _TIME_LIMIT_S:
            return left
        return min(self.deadline, left)

    def is_set_on_any(self, group: StopGroup) -> bool:
        """Was any process of the group asked to stop? Then all are. Every process calls this at the same point."""
        if not group.any_rank(self.is_set()):
            return False
        self.set(OTHER_RANK)
        return True

    def check(self, group: StopGroup | None = None) -> None:
        """Leave if a stop was asked for. For what is outside the steps: imports, data, evaluation.

        With a group, all of its processes call this at the same point and leave together.

        Raises:
            Preempted: A stop was asked for (exit code 75).
        """
        if self.is_set_on_any(group) if group else self.is_set():
            if group is None or group.rank == 0:
                verdict.announce_verdict(verdict.Verdict(EXIT_PREEMPTED, None, self._signal))
            self.leave(f"stopped by {self._signal}; what was durable before is intact")

    def leave(self, sentence: str) -> NoReturn:
        """Once everything is saved: ignore further signals and raise `Preempted`."""
        self.ignore()
        if self._signals:
            gc.freeze()  # the interpreter's last collection takes most of a second once torch is imported
        raise Preempted(sentence)

    def ignore(self) -> None:
        """Ignore the signals from now on.

        Python resets its handlers to the default while it shuts down, so that a repeated TERM would turn
        exit code 75 into -15; an ignored signal stays ignored. In another thread than the main one nothing is changed:
        there Python cannot, and until its shutdown, which ignores them first, a signal only sets the flag again.
        """
        if threading.current_thread() is threading.main_thread():
            for number in self._signals:
                signal.signal(number, signal.SIG_IGN)

    def before_forced_exit(self, action: Callable[[], None]) -> Callable[[], None]:
        """Run `action` in the watchdog thread before a forced exit. Returns a function that withdraws it."""
        self._exit_actions.append(action)
        return lambda: self._exit_actions.remove(action)

    def _listen(self, signals: tuple[Signals, ...]) -> None:
        # The C-level handler writes the signal's number to the pipe at once, also while the main thread is
        # stuck in a long C call (compiling, a collective) and no Python handler can run.
        signal.pthread_sigmask(signal.SIG_BLOCK, signals)  # those that come meanwhile wait for our handlers
        try:
            reader, writer = os.pipe2(os.O_CLOEXEC)
            os.set_blocking(writer, False)
            self._signals, self._wake = signals, writer
            watchdog = threading.Thread(target=self._watch, args=(reader,), name="unbroken-watchdog", daemon=True)
            watchdog.start()
            for number in signals:
                signal.signal(number, self._handle)
            signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
            os.register_at_fork(after_in_child=self._disarm_child)
        finally:
            # Our launcher has blocked them, too, so that a process that is not here yet is not killed by one.
            signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        self.set(Signals(number).name)

    def _disarm_child(self) -> None:
        # A forked worker shares the pipe: a TERM sent to it must not stop its parent.
        signal.set_wakeup_fd(-1)
        self._wake = None
        for number in self._signals:
            signal.signal(number, signal.SIG_DFL)
        StopFlag._installed = None  # a child that trains by itself installs one of its own

    def _watch(self, reader: int) -> None:
        while not self.is_set():
            for number in os.read(reader, 64):
                if number in self._signals:
                    self.set(Signals(number).name)
        time.sleep(min(self.remaining, _LONGEST_SLEEP_S))
        self._force_exit()

    def _force_exit(self) -> None:
        # In threads of their own: the disk that made the save hang may make these hang too.
        for action in tuple(self._exit_actions):
            thread = threading.Thread(target=action, daemon=True)
            thread.start()
            thread.join(_EXIT_ACTION_S)
        os._exit(EXIT_PREEMPTED)


def _check_main_thread() -> None:
    thread = threading.current_thread()
    if thread is not threading.main_thread():
        raise UnbrokenError(
            f"StopFlag.install() was called in the thread {thread.name!r}, expected the main thread, where alone "
            "Python can catch signals. Nothing was changed. Next: call it on the first line of the program; later "
            "calls return the same flag in any thread."
        )


def _check_signals(signals: Sequence[Signals]) -> tuple[Signals, ...]:
    found = tuple(Signals(number) for number in signals if number in _CATCHABLE)
    if len(found) < len(signals):
        raise UnbrokenError(
            f"StopFlag.install() was given the signals {list(signals)}, expected such as a program can catch and "
            "Python has a name for. Nothing was changed. Next: leave them out, which takes TERM, INT, USR1 and USR2."
        )
    return found


_says_uncaught_errors = False


def _check_deadline(seconds: float) -> float:
    if not (isinstance(seconds, int | float) and 0 < seconds < float("inf")):
        raise UnbrokenError(
            f"The deadline of StopFlag is {seconds!r}, expected a number of seconds above 0. Next: leave it out, which "
            f"takes {environment.DEFAULT_DEADLINE_S:.0f}, or less at the end of a job."
        )
    return float(seconds)


def _say_uncaught_errors() -> None:
    global _says_uncaught_errors
    if _says_uncaught_errors:
        return
    _says_uncaught_errors = True
    before = _print_traceback if sys.excepthook is sys.__excepthook__ else sys.excepthook

    def end_with_sentence(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if not isinstance(error, UnbrokenError):
            before(kind, error, trace)  # a bug: where it is counts
            return
        with redirect_stderr(_find_stderr()):
            behind = error.__context__
            if behind and not error.__suppress_context__ and not isinstance(behind, UnbrokenError):
                before(type(behind), behind, behind.__traceback__)  # a bug that ours would hide, as it came afterwards
            print_sentence(f"error: {error}")
        raise SystemExit(error.exit_code)  # the interpreter takes the exit code from here, and ends as it always does

    sys.excepthook = end_with_sentence


def _print_traceback(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if is_terminal(sys.stderr):
        sys.__excepthook__(kind, error, trace)  # in colors
        return
    text = io.StringIO()  # Python prints pieces of a line, and those of other ranks would stand between them
    with redirect_stderr(text):
        sys.__excepthook__(kind, error, trace)
    print_sentence(text.getvalue().rstrip("\n"))


def _find_stderr() -> TextIO | None:
    # Once a process group is made, torch's hook calls ours, and drops what was printed if that raises.
    return sys.__stderr__ if isinstance(sys.stderr, io.StringIO) else sys.stderr


def shield_worker(_worker_id: int) -> None:
    """A `worker_init_fn` for DataLoader: a TERM to the whole process group must not kill the workers first.

    The worker still ends with its parent: the DataLoader tells it to, it watches its parent, and it obeys the TERM
    that its parent sends (multiprocessing does so to workers that are still there when the program ends).
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    owner = parent_process()
    parent = os.getppid() if owner is None or owner.pid is None else owner.pid
    threading.Thread(target=_obey, args=(parent,), name="unbroken-shield", daemon=True).start()


def _obey(parent: int) -> None:
    # Only a blocked signal says who sent it.
    while (told := signal.sigwaitinfo(SIGNALS)).si_pid != parent:
        pass
    if told.si_signo == signal.SIGTERM:
        os._exit(0)  # as torch's own handler does: its parent would take another end for that of a broken worker
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [told.si_signo])
    os.kill(os.getpid(), told.si_signo)
