"""Gradients of several batches are added under autocast, with a scaler; a step is an optimizer step."""

from __future__ import annotations

from unbroken.preemption import StopFlag

if __name__ == "__main__":
    STOP = StopFlag.install()

import os
import sys
from pathlib import Path

import torch
from torch import nn

from unbroken.exact.randomness import sample_ids, seed_all
from unbroken.run import Run
from unbroken.run_folder.identity import Identity

STEPS, PARTS, BATCH = 14, 3, 4
IMAGES = torch.linspace(-1, 1, 40 * 12).reshape(40, 12).sin()
LABELS = torch.arange(40).remainder(3)


def main(stop: StopFlag, forget: str = "") -> None:
    """Train in the folder that `prove` gives."""
    torch.set_num_threads(1)
    seed_all(0)
    model = nn.Sequential(nn.Linear(12, 16), nn.BatchNorm1d(16), nn.GELU(), nn.Dropout(0.2), nn.Linear(16, 3))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, nesterov=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.1, total_steps=STEPS)
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0, growth_interval=3)
    state = {"model": model, "optimizer": optimizer, "schedule": schedule, "scaler": scaler}
    folder = Path(os.environ["UNBROKEN_FOLDER"])
    kept = {name: part for name, part in state.items() if name != forget}
    with Run(folder, identity=Identity({"loop": "accumulated"}), state=kept, stop=stop, every=5) as run:
        for step in run.steps(STEPS):
            optimizer.zero_grad()
            total = 0.0
            for rows in sample_ids(0, step, PARTS * BATCH, len(IMAGES)).reshape(PARTS, BATCH):
                with torch.autocast("cpu", dtype=torch.bfloat16):
                    loss = nn.functional.cross_entropy(model(IMAGES[rows]), LABELS[rows]) / PARTS
                scaler.scale(loss).backward()
                total += loss.item()
            scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            scaler.step(optimizer)
            scaler.update()
            schedule.step()
            run.log(loss=total, scale=scaler.get_scale())


if __name__ == "__main__":
    main(STOP, *sys.argv[1:])
