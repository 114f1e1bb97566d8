"""The one configuration of the standard library's logging."""

from __future__ import annotations

import logging
import sys
import threading
import time

SILENCE_S = 4.0  # one second below the promise of a line every five, for a busy machine
LAYOUT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class _StderrHandler(logging.Handler):
    """Writes each record to what `sys.stderr` is at that moment (a bar borrows it) and flushes it."""

    def __init__(self) -> None:
        super().__init__()
        self.spoke = time.monotonic()

    def emit(self, record: logging.LogRecord) -> None:
        self.spoke = time.monotonic()
        try:
            print(self.format(record), file=sys.stderr, flush=True)
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
    handler.setFormatter(logging.Formatter(tag + LAYOUT))
    root.setLevel(level)


def log_when_idle(name: str, seconds: float = SILENCE_S) -> None:
    """Log that `name` is at work whenever nothing else was logged for so long: imports, loading of models.

    Does nothing on a terminal, where a bar would be torn apart.
    """
    handler = next((known for known in logging.getLogger().handlers if isinstance(known, _StderrHandler)), None)
    if handler is None or sys.stdout.isatty():
        return
    begun, logger = time.monotonic(), logging.getLogger(__name__)

    def watch() -> None:
        while True:
            time.sleep(max(0.1, handler.spoke + seconds - time.monotonic()))
            if time.monotonic() - handler.spoke >= seconds:
                logger.info("%s is at work, %.0f s after its start", name, time.monotonic() - begun)

    threading.Thread(target=watch, name="never-silent", daemon=True).start()
