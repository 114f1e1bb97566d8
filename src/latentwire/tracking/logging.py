"""The one configuration of the standard library's logging."""

from __future__ import annotations

import logging
import sys

LAYOUT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class _StderrHandler(logging.Handler):
    """Writes each record to what `sys.stderr` is at that moment (a bar borrows it) and flushes it."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            print(self.format(record), file=sys.stderr, flush=True)
        except Exception:
            self.handleError(record)


def configure(restart: int | None = None, level: int = logging.INFO) -> None:
    """Log to stderr with time, level and logger; `restart`, the job's restart number, tags every line.

    Calling it again changes the tag and the level and adds no second handler.
    """
    root = logging.getLogger()
    handler = next((known for known in root.handlers if isinstance(known, _StderrHandler)), None)
    if handler is None:
        handler = _StderrHandler()
        root.addHandler(handler)
    tag = "" if restart is None else f"[restart {restart}] "
    handler.setFormatter(logging.Formatter(tag + LAYOUT))
    root.setLevel(level)
