"""Handwritten digits: workers that augment, epochs, a schedule, the best kept, early stopping.

`python digits.py [FAULT]`, where a fault is the name of what the program forgets to save, such as `schedule`.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from unbroken.preemption import StopFlag, shield_worker

if __name__ == "__main__":
    StopFlag.install()

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, Dataset

from unbroken import Identity, Run
from unbroken.exact.randomness import seed_all

EPOCHS, PATIENCE, SIZE = 12, 2, 320


class Digits(Dataset[tuple[torch.Tensor, int]]):
    """Images (64,) in 0 to 1, shifted by noise that each worker draws."""

    def __init__(self, noise: float, rows: slice) -> None:
        images, labels = load_digits(return_X_y=True)
        self._images, self._labels, self._noise = images[rows] / 16, labels[rows], noise

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        image = self._images[index] + self._noise * np.random.rand() + self._noise * torch.rand(1).item()
        return torch.from_numpy(image).float(), int(self._labels[index])


def measure_accuracy(model: torch.nn.Module, loader: DataLoader[Any]) -> float:
    """Share of the images whose digit is found."""
    model.eval()
    with torch.no_grad():
        right = sum(int((model(images).argmax(1) == labels).sum()) for images, labels in loader)
    model.train()
    return right / 160


def main(fault: str, folder: Path, workers: int = 2) -> None:
    """Train to the end, or to a stop; `folder` has the run and what is exported."""
    torch.set_num_threads(1)
    seed_all(0)
    layers = (torch.nn.Linear(64, 16), torch.nn.ReLU(), torch.nn.Dropout(0.2), torch.nn.Linear(16, 10))
    model = torch.nn.Sequential(*layers)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.02)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.8)
    shown = {"best": 0.0, "left": PATIENCE}
    loader = DataLoader(
        Digits(0.1, slice(0, SIZE)), 64, shuffle=True, num_workers=workers, worker_init_fn=shield_worker
    )
    validation = DataLoader(Digits(0.0, slice(SIZE, SIZE + 160)), 160)
    state: dict[str, Any] = {"model": model, "optimizer": optimizer, "schedule": schedule, "shown": shown}
    state = {name: holder for name, holder in state.items() if name != fault}
    with Run(folder, identity=Identity({"digits": 1}), state=state, stop=StopFlag.install(), every=4) as run:
        for epoch in run.epochs(EPOCHS, loader):
            for _step, (images, labels) in epoch.batches(loader):
                loss = torch.nn.functional.cross_entropy(model(images), labels)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                run.log(loss=loss)
            schedule.step()
            accuracy = measure_accuracy(model, validation)
            run.log(epoch=epoch.number, accuracy=accuracy)
            is_best = accuracy > shown["best"]
            shown.update(best=max(accuracy, shown["best"]), left=PATIENCE if is_best else shown["left"] - 1)
            if is_best:
                run.pin("best")
            if shown["left"] == 0:
                break
        run.export(folder / "final")
        run.export(folder / "best", pin="best")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "", Path(os.environ["UNBROKEN_FOLDER"]))
