"""The one configuration of the standard library's logging."""

from __future__ import annotations

import logging
import sys
import time

from latentwire.console.periodic import INTERVAL_S, PeriodicLog
from latentwire.passwords import hide_passwords
from unbroken.standard_streams import is_terminal, print_sentence

LAYOUT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class _Formatter(logging.Formatter):
    """Hides the passwords of URLs, also in what libraries log and in tracebacks."""

    def format(self, record: logging.LogRecord) -> str:
        return hide_passwords(super().format(record))


class _StderrHandler(logging.Handler):
    """Writes each record to what `sys.stderr` is at that moment (a bar borrows it) and flushes it."""

    def __init__(self) -> None:
        super().__init__()
        self.spoke = time.monotonic()

    def emit(self, record: logging.LogRecord) -> None:
        self.spoke = time.monotonic()
        try:
            print_sentence(self.format(record))
        except Exception:
            self.handleError(record)


def configure_logging(restart: int | None = None, level: int = logging.INFO, rank: int | None = None) -> None:
    """Log to stderr with time, level and logger; the job's restart number and the rank, where given, tag every line.

    Calling it again changes the tag and the level and adds no second handler.
    """
    root = logging.getLogger()
    handler = next((known for known in root.handlers if isinstance(known, _StderrHandler)), None)
    if handler is None:
        handler = _StderrHandler()
        root.addHandler(handler)
    tag = "" if restart is None else f"[restart {restart}] "
    tag += "" if rank is None else f"[rank {rank}] "
    handler.setFormatter(_Formatter(tag + LAYOUT))
    root.setLevel(level)


def log_when_idle(name: str, seconds: float = INTERVAL_S) -> None:
    """Log that `name` is at work whenever nothing else was logged for so long: imports, loading of models.

    Does nothing on a terminal, where a bar would be torn apart.
    """
    handler = next((known for known in logging.getLogger().handlers if isinstance(known, _StderrHandler)), None)
    if handler is None or is_terminal(sys.stdout):
        return
    begun = time.monotonic()

    def line() -> str | None:
        now = time.monotonic()
        return f"{name} is at work, {now - begun:.0f} s after its start" if now - handler.spoke >= seconds else None

    def pause() -> float:
        return max(0.1, handler.spoke + seconds - time.monotonic())

    PeriodicLog(logging.getLogger(__name__), line, pause).start()
