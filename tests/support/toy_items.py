"""An item of the real matrix, trained by the real `Run` without its model: killed, preempted and finished at will."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.support.forks import in_child
from unbroken.preemption import Preempted, StopFlag
from unbroken.run import Run
from unbroken.run_folder.identity import Identity
from unbroken.run_folder.journal import encode_record

ITEM = "wire-r8-0"
STEPS = 64
"""Of `params.yaml`."""
SLURM = ("SLURM_JOB_ID", "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID", "SLURM_RESTART_COUNT")


def loss_at(step: int) -> float:
    """What the training logs as its loss."""
    return 1.0 / step


def train(folder: Path, at: int = 0, sent: signal.Signals | None = None) -> None:
    """Train to the end, or send oneself a signal at a step."""
    stop = StopFlag.install()
    identity = Identity({"item": ITEM})
    with Run(folder, identity=identity, state={"cursor": {"at": 0}}, stop=stop, every=10, background=False) as going:
        for step in going.steps(STEPS):
            going.log(**{"train/loss": loss_at(step)})
            if step % 16 == 0:
                going.log(**{"validation/accuracy/gemma3": step / STEPS})
            if step == at and sent:
                os.kill(os.getpid(), sent)


def attempt(folder: Path, at: int = 0, sent: signal.Signals | None = None, **variables: str) -> int:
    """Train in a process of its own; its exit code."""

    def action() -> None:
        for name in SLURM:
            os.environ.pop(name, None)
        os.environ.update(variables)
        try:
            train(folder, at, sent)
        except Preempted:
            raise SystemExit(75) from None

    return in_child(action)


def at(seconds_ago: float, event: str, **facts: object) -> dict[str, object]:
    """An event."""
    time = (datetime.now(UTC) - timedelta(seconds=seconds_ago)).isoformat()
    return {"time": time, "event": event, "restart": 0, "host": "elsewhere", **facts}


def store(
    folder: Path, events: Sequence[Mapping[str, object]], steps: int, values: Mapping[int, float] | None = None
) -> Path:
    """A run folder with such events and so many steps; `values` are losses other than those of `loss_at`."""
    folder.mkdir(parents=True)
    (folder / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    losses = {step: loss_at(step) for step in range(1, steps + 1)} | dict(values or {})
    written = b"".join(encode_record(step, {"train/loss": losses[step]}) for step in range(1, steps + 1))
    (folder / "journal.jsonl").write_bytes(written)
    return folder
