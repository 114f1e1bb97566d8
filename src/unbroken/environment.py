"""Every environment variable that unbroken reads, and nothing else reads them."""

from __future__ import annotations

import os
from pathlib import Path

from unbroken.errors import UnbrokenError

DEADLINE = "UNBROKEN_DEADLINE_S"
"""Seconds between the first stop signal and a forced exit."""

VERDICT = "UNBROKEN_VERDICT"
"""A file that also receives the verdict: for scripts whose exit code is swallowed on the way (DVC)."""

DEFAULT_DEADLINE_S = 90.0


def deadline_s() -> float:
    """Seconds from UNBROKEN_DEADLINE_S, 90 when unset."""
    text = os.environ.get(DEADLINE)
    if not text:
        return DEFAULT_DEADLINE_S
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 < seconds < float("inf"):
        raise UnbrokenError(
            f"{DEADLINE} is {text!r}, expected a number of seconds above 0. To go on: `export {DEADLINE}=90`."
        )
    return seconds


def verdict_path() -> Path | None:
    """Where the calling script wants the verdict, if it asked for one."""
    text = os.environ.get(VERDICT)
    return Path(text) if text else None
