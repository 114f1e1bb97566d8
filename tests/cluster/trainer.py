"""The process that trains in a clone: found by its lock, and stopped where a fast machine would be done too soon."""

from __future__ import annotations

import contextlib
import os
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.cluster.slurm import Cluster, Job, until, wait_for_step
from tests.support.workspace import Workspace


def wait_for_pid(place: Workspace) -> int:
    """The process that trains in a clone, by the lock that it holds."""
    (folder,) = place.state()

    def holder() -> int | None:
        found = re.search(r'"pid": (\d+)', (folder / "lock").read_text())
        alive = found and Path(f"/proc/{found[1]}/cmdline").exists()
        return int(found[1]) if found and alive else None

    return until("the trainer", holder)


def preempt_after_step(cluster: Cluster, job: Job, place: Workspace, step: int) -> None:
    """Take the nodes of a job away from it while it trains, however fast its steps are."""
    with frozen_after_step(place, step) as trainer:
        preempt_frozen(cluster, job, trainer)


def preempt_frozen(cluster: Cluster, job: Job, trainer: int) -> None:
    """Preempt a job whose trainer is stopped: it goes on once SLURM's signal is there, and is started again."""
    before = job.restarts
    cluster.occupy(job.facts["NodeList"])
    until("SLURM's signal", lambda: is_signalled(trainer))
    os.kill(trainer, signal.SIGCONT)
    job.started_again(before + 1)


def freeze_after_step(place: Workspace, step: int) -> int:
    """Stop the trainer once it has done a step; its process."""
    wait_for_step(place, step)
    trainer = wait_for_pid(place)
    os.kill(trainer, signal.SIGSTOP)
    return trainer


@contextlib.contextmanager
def frozen_after_step(place: Workspace, step: int) -> Iterator[int]:
    """Within, the trainer does nothing, unless SLURM wakes it to end it; yields its process."""
    trainer = freeze_after_step(place, step)
    try:
        yield trainer
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(trainer, signal.SIGCONT)


def freeze_when(trainer: int, seen: Callable[[], bool]) -> None:
    """Stop a process at an instant at which something is seen, and still is when it has stopped."""

    def frozen() -> bool:
        if not seen():
            return False
        os.kill(trainer, signal.SIGSTOP)
        if seen():
            return True
        os.kill(trainer, signal.SIGCONT)
        return False

    until("that instant", frozen)


def is_signalled(stopped: int) -> bool:
    """Whether SLURM's signal has come to a stopped process: it waits there, or has woken it."""
    try:
        status = Path(f"/proc/{stopped}/status").read_text()
    except FileNotFoundError:
        return True
    waiting = re.search(r"ShdPnd:\s*(\w+)", status)
    return "State:\tT" not in status or bool(waiting and int(waiting[1], 16) >> (signal.SIGTERM - 1) & 1)
