"""A small trainer with all that makes a resume hard: shuffle, dropout, schedule, clipping, a mid-epoch cursor.

`python toy_training.py FOLDER TARGET [KILL_AT | --foreground]` trains it in a process of its own. It kills itself in
step KILL_AT, or it saves without a thread, so that its file operations have one order.
"""

from __future__ import annotations

import os
import random
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from unbroken.preemption import StopFlag

if __name__ == "__main__":
    STOP = StopFlag.install()

import numpy as np
import torch

from unbroken.exact.randomness import seed_all
from unbroken.filesystem import FileSystem
from unbroken.run import Run
from unbroken.run_folder.identity import Identity

STEPS = 40
SAMPLES, BATCH = 22, 4  # an epoch ends inside a batch
IDENTITY = Identity({"train": {"lr": 0.05, "steps": STEPS}, "seed": 3})
Hook = Callable[[Run, int], None]


class Shuffled:
    """Sample order and position inside the epoch, as a state of its own."""

    def __init__(self) -> None:
        self.order = torch.empty(0, dtype=torch.int64)
        self.cursor = 0

    def take(self) -> torch.Tensor:
        while len(self.order) - self.cursor < BATCH:
            self.order = torch.cat([self.order[self.cursor :], torch.randperm(SAMPLES)])
            self.cursor = 0
        self.cursor += BATCH
        return self.order[self.cursor - BATCH : self.cursor]

    def state_dict(self) -> dict[str, Any]:
        return {"order": self.order, "cursor": self.cursor}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.order, self.cursor = state["order"], state["cursor"]


def build() -> dict[str, Any]:
    """All objects of the training, fresh."""
    seed_all(3)
    model = torch.nn.Sequential(
        torch.nn.Linear(5, 8), torch.nn.BatchNorm1d(8), torch.nn.Dropout(0.3), torch.nn.Linear(8, 2)
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.05, total_steps=STEPS)
    return {"model": model, "optimizer": optimizer, "schedule": schedule, "data": Shuffled()}


def train_step(state: dict[str, Any]) -> dict[str, float]:
    """One optimizer step; draws from all global generators."""
    features = torch.linspace(-1, 1, SAMPLES * 5).reshape(SAMPLES, 5).sin()
    ids = state["data"].take()
    noise = random.gauss(0, 0.1) + float(np.random.normal(0, 0.1))
    loss = torch.nn.functional.cross_entropy(state["model"](features[ids] + noise), ids % 2)
    state["optimizer"].zero_grad()
    loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(state["model"].parameters(), 0.5)
    state["optimizer"].step()
    state["schedule"].step()
    return {"train/loss": loss.item(), "train/norm": norm.item(), "lr": state["schedule"].get_last_lr()[0]}


class Unsynced(FileSystem):
    """A killed process loses nothing of the page cache, so tests that kill need not wait for the disk."""

    def sync(self, descriptor: int, path: Path) -> None:
        """Nothing."""

    def forget(self, descriptor: int, path: Path) -> None:
        """Nothing."""


def train(
    folder: Path,
    target: Path,
    stop: StopFlag | None = None,
    hook: Hook | None = None,
    forget: str = "",
    totals: Sequence[int] = (STEPS,),
    between: Callable[[dict[str, Any]], object] = lambda _state: None,
    **options: Any,
) -> list[str]:
    """Train to the end or to a stop, then export; returns what was reported. `forget` leaves an object unsaved.

    With several `totals` it is trained from one to the next, and `between` is called with the state after each.
    """
    torch.set_num_threads(1)
    reports: list[str] = []
    state = build()
    stop = stop or StopFlag()
    settings = {"every": 7, "report": reports.append, "lock_timeout": 0.0, "files": Unsynced(), **options}
    saved = {name: value for name, value in state.items() if name != forget}
    with Run(folder, identity=IDENTITY, state=saved, stop=stop, **settings) as run:
        for total in totals:
            for step in run.steps(total):
                run.log(**train_step(state))
                if hook:
                    hook(run, step)
            between(state)
        run.export(target)
    return reports


def stop_at(step: int) -> Hook:
    """As a signal that arrives inside the step."""

    def hook(run: Run, current: int) -> None:
        if current == step:
            run.stop.set("SIGTERM")

    return hook


def kill_at(step: int) -> Hook:
    """SIGKILL inside the step."""

    def hook(_run: Run, current: int) -> None:
        if current == step:
            os.kill(os.getpid(), signal.SIGKILL)

    return hook


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a folder."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


if __name__ == "__main__":
    _options = sys.argv[3:]
    killing = kill_at(int(_options[0])) if _options and _options[0].isdecimal() else None
    _settings = {"files": FileSystem(), "keep": 99, "background": "--foreground" not in _options}
    for _sentence in train(Path(sys.argv[1]), Path(sys.argv[2]), STOP, killing, **_settings):
        print(_sentence)
