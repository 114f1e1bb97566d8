"""Every environment variable that unbroken reads, and nothing else reads them."""

from __future__ import annotations

import os
from pathlib import Path

from unbroken.errors import UnbrokenError

DEADLINE = "UNBROKEN_DEADLINE_S"
"""Seconds between the first stop signal and a forced exit."""

VERDICT = "UNBROKEN_VERDICT"
"""A file that also receives the verdict: for scripts whose exit code is swallowed on the way (DVC)."""

JOB_END = "SLURM_JOB_END_TIME"
"""Set by SLURM: when the job's time is up, in seconds since 1970."""

TRACE = "UNBROKEN_TRACE"
"""Set by `prove`: write the digests of the state after every step to `trace.jsonl` in the run folder."""

INTERRUPT = "UNBROKEN_INTERRUPT"
"""Set by `prove`: the signal that the run sends to itself, and where, such as `TERM@5` or `KILL@9:save`."""

SABOTAGE = "UNBROKEN_SABOTAGE"
"""Set by `prove`: the part of the state that is dropped on a resume, such as `rng` or `optimizer`."""

EVERY = "UNBROKEN_EVERY"
"""Set by `prove`: steps between two checkpoints, instead of what the program asks for."""

FOLDER = "UNBROKEN_FOLDER"
"""Set by `prove` for the program that it runs: where the program shall keep its run. Not read by unbroken."""

DEFAULT_DEADLINE_S = 90.0


def given_deadline_s() -> float | None:
    """Seconds from UNBROKEN_DEADLINE_S, None when unset. Raises UnbrokenError for anything but a positive number."""
    text = os.environ.get(DEADLINE)
    if not text:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 < seconds < float("inf"):
        raise UnbrokenError(
            f"{DEADLINE} is {text!r}, expected a number of seconds above 0. To go on: `export {DEADLINE}=90`."
        )
    return seconds


def job_end() -> float | None:
    """Seconds since 1970 at which SLURM ends the job; None outside of SLURM, or when it does not say."""
    text = os.environ.get(JOB_END, "")
    return float(text) if text.isdecimal() else None


def verdict_path() -> Path | None:
    """Where the calling script wants the verdict, if it asked for one."""
    text = os.environ.get(VERDICT)
    return Path(text) if text else None


def drill() -> dict[str, str]:
    """What `prove` asks of a run: the variables above that are set, by name."""
    return {name: os.environ[name] for name in (TRACE, INTERRUPT, SABOTAGE, EVERY) if os.environ.get(name)}
