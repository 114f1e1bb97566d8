"""One interruption of `dvc repro`: wait for a stage to be at work, send its process a signal, see DVC fail."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

STAGES = "latentwire.stages."
PATIENCE_S = 3600.0
"""Longest wait for a stage to begin; the stages before it run in this time."""
POLL_S = 0.02
STOPPED = "exited with 75"


class MissedError(AssertionError):
    """A stage ended before its signal came, so that nothing was interrupted."""


@dataclass(frozen=True)
class Interruption:
    """A signal to a stage, `ready` seconds or journalled steps after it began."""

    stage: str
    number: signal.Signals
    ready: float
    whole: bool = False
    """DVC and all that it started are killed at once, as a machine does that loses its power."""

    def __str__(self) -> str:
        unit = "steps" if self.stage == "train" else "s"
        return f"{self.number.name} to {'all of ' if self.whole else ''}{self.stage} after {self.ready:.1f} {unit}"


def five(rng: random.Random, steps: int) -> list[Interruption]:
    """One in training by each kind of signal, one each in evaluation, aggregation and the report."""
    first, second = sorted(rng.sample(range(1, max(steps - 1, 3)), 2))
    return [
        Interruption("train", signal.SIGTERM, first),
        Interruption("train", signal.SIGKILL, second),
        Interruption("evaluate", signal.SIGKILL, rng.uniform(0.5, 4)),
        Interruption("aggregate", signal.SIGTERM, rng.uniform(0.1, 1)),
        Interruption("report", signal.SIGKILL, rng.uniform(1, 5), whole=True),
    ]


def interrupt(start: Callable[[], subprocess.Popen[str]], root: Path, chosen: Interruption) -> str:
    """Run `dvc repro` until the interruption and check that it failed; return what it printed.

    Raises:
        MissedError: The stage, or DVC, ended before.
    """
    dvc = start()
    try:
        _send(dvc, root, chosen)
        output, _ = dvc.communicate(timeout=600)
    except BaseException:
        _end(dvc)
        raise
    if dvc.returncode == 0:
        raise MissedError(f"{chosen}: `dvc repro` ended well all the same:\n{output}")
    if chosen.number is signal.SIGTERM and STOPPED not in output:
        raise MissedError(f"{chosen}: the stage did not say that it was stopped:\n{output}")
    return output


def _send(dvc: subprocess.Popen[str], root: Path, chosen: Interruption) -> None:
    stage = _wait_for_stage(dvc, chosen.stage)
    if chosen.number is signal.SIGTERM:
        _wait_until_it_listens(stage)
    if chosen.stage == "train":
        _wait_for_step(stage, root, int(chosen.ready))
    else:
        time.sleep(chosen.ready)
    if chosen.whole:
        _end(dvc)
    else:
        os.kill(stage.pid, chosen.number)


def _wait_for_stage(dvc: subprocess.Popen[str], name: str) -> psutil.Process:
    deadline = time.monotonic() + PATIENCE_S
    while dvc.poll() is None and time.monotonic() < deadline:
        for child in _children(dvc.pid):
            if any(word == STAGES + name for word in _command(child)):
                return child
        time.sleep(POLL_S)
    raise MissedError(f"no process of the stage {name} came: `dvc repro` ended with {dvc.poll()}")


def _wait_until_it_listens(stage: psutil.Process) -> None:
    """Until Python has run its first lines: before, a TERM ends the process as a KILL does."""
    status = Path(f"/proc/{stage.pid}/status")
    while status.is_file():
        caught = int(status.read_text().partition("SigCgt:")[2].split()[0], 16)
        if caught >> (signal.SIGTERM - 1) & 1:
            return
        time.sleep(POLL_S)
    raise MissedError("the stage ended before it listened to signals")


def _wait_for_step(stage: psutil.Process, root: Path, step: int) -> None:
    """Until the run that was written to last has so many steps in its journal."""
    while stage.is_running() and stage.status() != psutil.STATUS_ZOMBIE:
        journals = sorted(root.glob("state/*/journal.jsonl"), key=lambda path: path.stat().st_mtime)
        if journals and journals[-1].read_bytes().count(b"\n") >= step:
            return
        time.sleep(POLL_S)
    raise MissedError(f"training ended before step {step}")


def _children(pid: int) -> Sequence[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _command(process: psutil.Process) -> Sequence[str]:
    try:
        return process.cmdline()
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return []


def _end(dvc: subprocess.Popen[str]) -> None:
    """Kill DVC and its descendants, which may have left its process group."""
    for process in [*_children(dvc.pid), *([psutil.Process(dvc.pid)] if dvc.poll() is None else [])]:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
