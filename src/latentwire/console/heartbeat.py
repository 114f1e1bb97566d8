"""A log line at least every few seconds while something long and silent runs."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from latentwire.console.periodic import PeriodicLog
from unbroken.standard_streams import is_terminal

log = logging.getLogger(__name__)


@contextmanager
def heartbeat(what: str, every: float = 5.0, at_once: bool = True) -> Iterator[None]:
    """Log `what` again and again, with the seconds since the start, until the block ends.

    Args:
        what: What takes so long.
        every: Seconds between two lines.
        at_once: Whether the first line comes at the start, or only after `every` seconds.
    """
    if at_once:
        log.info("%s", what)
    start = time.monotonic()
    with PeriodicLog(log, lambda: f"{what} … {time.monotonic() - start:.0f} s", lambda: every):
        yield


def disable_hf_bars() -> None:
    """Switch the progress bars of `transformers` off where they would fill a log file."""
    if not is_terminal(sys.stderr):
        from transformers.utils import logging as transformers_logging

        transformers_logging.disable_progress_bar()
