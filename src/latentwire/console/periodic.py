"""The thread behind every line that says "still at work": heartbeats, progress, a process that is idle."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from types import TracebackType

INTERVAL_S = 4.0
"""Between two lines: one second below the promise of a line every five, for a busy machine."""


class PeriodicLog(threading.Thread):
    """Logs what `line` returns, again and again, until it is closed; as a context manager, while the block runs.

    Args:
        logger: Where to.
        line: What to log; nothing where it is None.
        pause: Seconds until it is asked again.
    """

    def __init__(self, logger: logging.Logger, line: Callable[[], str | None], pause: Callable[[], float]) -> None:
        super().__init__(name=f"periodic-log {logger.name}", daemon=True)
        self._logger, self._line, self._pause = logger, line, pause
        self._closed = threading.Event()

    def run(self) -> None:
        """Log until it is closed."""
        while not self._closed.wait(self._pause()):
            line = self._line()
            if line is not None:
                self._logger.info("%s", line)

    def close(self) -> None:
        """Log nothing more."""
        self._closed.set()
        self.join()

    def __enter__(self) -> None:
        self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
