"""A tiny model in a loop of accelerate: accumulation, bf16, a schedule, noise, an evaluation after each epoch.

`python accelerate_loop.py FOLDER [FAULT]`, with FAULT `average`: an average of the weights that is in no state.
"""

from __future__ import annotations

from unbroken.preemption import StopFlag

if __name__ == "__main__":
    STOP = StopFlag.install()

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch.utils.data import DataLoader, Dataset

from unbroken import Identity
from unbroken.exact.randomness import seed_all
from unbroken.integrations.accelerate_loop import UnbrokenLoop


class Noisy(Dataset):
    """Points with noise that is drawn whenever they are read."""

    def __init__(self, size: int) -> None:
        self.points = torch.randn(size, 4, generator=torch.Generator().manual_seed(size))

    def __len__(self) -> int:
        return len(self.points)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        point = self.points[index]
        return point + 0.1 * torch.randn(4), (point.sum() > 0).long()


def train(
    folder: Path,
    stop: StopFlag,
    reach: Callable[[int], None],
    fault: str = "",
    workers: int = 0,
    ends_in: int = 0,
    by_exit: bool = False,
    **more: Any,
) -> None:
    """Train in the folder; `reach` is told of each step, and the loop is left in the step `ends_in`."""
    seed_all(0)
    accelerator = Accelerator(cpu=True, mixed_precision="bf16", gradient_accumulation_steps=2)
    model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Dropout(0.2), torch.nn.Linear(8, 2))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
    loader = DataLoader(Noisy(22), 4, shuffle=True, num_workers=workers, persistent_workers=workers > 0)
    model, optimizer, schedule, loader = accelerator.prepare(model, optimizer, schedule, loader)
    average = {"weight": torch.zeros(2, 8)}
    state = {} if fault == "average" else {"average": average}
    options = {"identity": Identity({"lr": 0.01}), "stop": stop, "every": 1, **more}
    with UnbrokenLoop(accelerator, loader, folder, state=state, **options) as loop:
        for epoch in loop.epochs(3):
            for points, labels in loop.batches():
                with accelerator.accumulate(model):
                    loss = torch.nn.functional.cross_entropy(model(points), labels)
                    accelerator.backward(loss)
                    optimizer.step()
                    schedule.step()
                    optimizer.zero_grad()
                average["weight"].mul_(0.9).add_(model[2].weight.detach(), alpha=0.1)
                loop.run.log(loss=loss)
                reach(loop.run.step + 1)
                if ends_in == loop.run.step + 1:
                    if by_exit:
                        sys.exit(0)
                    break
            if ends_in == loop.run.step + 1:
                break
            with torch.no_grad():
                loop.run.log(epoch=epoch, after_epoch=model(torch.ones(3, 4)).sum())  # dropout draws here too
    torch.save(average, folder / "average.pt")


if __name__ == "__main__":
    train(Path(sys.argv[1]), STOP, lambda _step: None, *sys.argv[2:])
