"""Handwritten digits: workers that augment, epochs, a schedule, the best kept, early stopping."""

from unbroken.preemption import StopFlag, shield_worker

stop = StopFlag.install()

import os
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, Dataset

from unbroken import Identity, Run
from unbroken.exact.randomness import seed_all

EPOCHS, PATIENCE, TRAINING = 12, 3, 1200


class Digits(Dataset):
    """Images (64,) in 0 to 1, each with noise that a worker draws, and their digits."""

    def __init__(self, rows, noise):
        images, labels = load_digits(return_X_y=True)
        self.images, self.labels, self.noise = images[rows] / 16, labels[rows], noise

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        noise = self.noise * torch.rand(64) * np.random.rand()
        return torch.from_numpy(self.images[index]).float() + noise, int(self.labels[index])


def measure_accuracy(model, loader):
    """Share of the images whose digit is found."""
    model.eval()
    with torch.no_grad():
        right = sum(int((model(images).argmax(1) == labels).sum()) for images, labels in loader)
    model.train()
    return right / len(loader.dataset)


seed_all(0)
folder = Path(os.environ.get("UNBROKEN_FOLDER", "runs/digits"))
model = torch.nn.Sequential(torch.nn.Linear(64, 32), torch.nn.ReLU(), torch.nn.Dropout(0.2), torch.nn.Linear(32, 10))
optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.8)
loader = DataLoader(Digits(slice(TRAINING), noise=0.5), 64, shuffle=True, num_workers=2, worker_init_fn=shield_worker)
validation = DataLoader(Digits(slice(TRAINING, None), noise=0.0), 256)
best = {"accuracy": 0.0, "patience": PATIENCE}

state = {"model": model, "optimizer": optimizer, "schedule": schedule, "best": best}
with Run(folder, identity=Identity({"lr": 0.01}), state=state, stop=stop, every=50) as run:
    for epoch in run.epochs(EPOCHS, loader):
        for _step, (images, labels) in epoch.batches(loader):
            loss = torch.nn.functional.cross_entropy(model(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            run.log(loss=loss)
        schedule.step()
        accuracy = measure_accuracy(model, validation)
        run.log(accuracy=accuracy)
        is_better = accuracy > best["accuracy"]
        best.update(accuracy=max(accuracy, best["accuracy"]), patience=PATIENCE if is_better else best["patience"] - 1)
        if is_better:
            run.pin("best")
        if best["patience"] == 0:
            break
    run.export(folder / "best", pin="best")
