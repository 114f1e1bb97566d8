"""Progress of long loops: a bar on a terminal, elsewhere a log line at least every five seconds."""

from __future__ import annotations

import contextlib
import logging
import sys
import time
from collections.abc import Callable, Iterator
from typing import Protocol

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from latentwire.console.periodic import INTERVAL_S, PeriodicLog
from unbroken.preemption import StopFlag
from unbroken.standard_streams import is_terminal

logger = logging.getLogger(__name__)


class Bar(Protocol):
    """What the body of `with progress_bar(...) as bar` gets."""

    def advance(self, steps: int = 1, **values: float) -> None:
        """`steps` more are done; `values`, such as loss=0.5, are shown from now on."""


@contextlib.contextmanager
def progress_bar(total: int, description: str, start: int = 0, seconds: float = INTERVAL_S) -> Iterator[Bar]:
    """Show the progress of a loop of `total` steps of which `start` were done earlier.

    On a terminal this is a bar that vanishes at the end; elsewhere a log line each `seconds`, also while one
    step takes longer than that, and one at the end.
    """
    lines = _lines(total, description, start, seconds)
    with _terminal(total, description, start) if is_terminal(sys.stdout) else lines as bar:
        yield bar


@contextlib.contextmanager
def stoppable_progress(total: int, description: str) -> Iterator[Callable[[int], None]]:
    """Show the progress of a loop that may be left between any two steps.

    Yields:
        What the loop tells how many more steps are done; it leaves with exit code 75 if a stop was asked for.
    """
    stop = StopFlag.install()
    with progress_bar(total, description) as bar:

        def advance(steps: int) -> None:
            stop.check()
            bar.advance(steps)

        yield advance


@contextlib.contextmanager
def no_progress_bar() -> Iterator[Bar]:
    """A bar that shows nothing: of several processes that work together, one speaks."""
    yield _LineBar(0, "", 0)  # it counts, and nobody asks it for a line


class _RichBar:
    """A bar of rich."""

    def __init__(self, bars: Progress, total: int, description: str, start: int) -> None:
        self._bars = bars
        self._task = bars.add_task(description, total=total, completed=start, values="")

    def advance(self, steps: int = 1, **values: float) -> None:
        self._bars.update(self._task, advance=steps)
        if values:
            self._bars.update(self._task, values=_shown(values))


@contextlib.contextmanager
def _terminal(total: int, description: str, start: int) -> Iterator[Bar]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[values]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, transient=True) as bars:
        yield _RichBar(bars, total, description, start)


class _LineBar:
    """Counts steps; `line` says where it stands."""

    def __init__(self, total: int, description: str, start: int) -> None:
        self._total, self._description = total, description
        self._start = self._done = start
        self._values: dict[str, float] = {}
        self._began = time.monotonic()

    def advance(self, steps: int = 1, **values: float) -> None:
        self._done += steps
        self._values = values or self._values

    def line(self) -> str:
        """E.g. "wire-r8-0: 40/120, loss 0.5132, 2.1 steps/s, 38 s left"; the rate is that of this process."""
        elapsed = max(time.monotonic() - self._began, 1e-9)
        rate = (self._done - self._start) / elapsed
        parts = [f"{self._description}: {self._done}/{self._total}", _shown(self._values)]
        parts += [f"{rate:.3g} steps/s"] if rate else []
        if self._done >= self._total:
            parts.append(f"{elapsed:.1f} s")
        elif rate:
            parts.append(f"{(self._total - self._done) / rate:.0f} s left")
        return ", ".join(filter(None, parts))


@contextlib.contextmanager
def _lines(total: int, description: str, start: int, seconds: float) -> Iterator[Bar]:
    bar = _LineBar(total, description, start)
    try:
        with PeriodicLog(logger, bar.line, lambda: seconds):
            yield bar
    finally:
        logger.info(bar.line())


def _shown(values: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in values.items())
