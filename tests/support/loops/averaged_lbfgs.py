"""LBFGS with its closure, then averaged weights (SWA) from the third epoch on, and their batch norm at the end."""

from __future__ import annotations

from unbroken.preemption import StopFlag

if __name__ == "__main__":
    STOP = StopFlag.install()

import os
import sys
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import SWALR, AveragedModel, update_bn
from torch.utils.data import DataLoader, TensorDataset

from unbroken.exact.randomness import seed_all
from unbroken.run import Run
from unbroken.run_folder.identity import Identity

EPOCHS, AVERAGED_FROM = 5, 3


def main(stop: StopFlag, forget: str = "") -> None:
    """Train in the folder that `prove` gives."""
    torch.set_num_threads(1)
    seed_all(0)
    x = torch.rand(24, 3)
    loader = DataLoader(TensorDataset(x, x.sin().sum(1, keepdim=True)), 8, shuffle=True)
    model = nn.Sequential(nn.Linear(3, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Dropout(0.05), nn.Linear(6, 1))
    optimizer = torch.optim.LBFGS(model.parameters(), lr=0.2, max_iter=3, line_search_fn="strong_wolfe")
    state: dict[str, Any] = {
        "model": model,
        "optimizer": optimizer,
        "schedule": torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 20),
        "average": AveragedModel(model),
        "average-rate": SWALR(optimizer, swa_lr=0.05, anneal_epochs=2),
    }

    def closure(rows: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(rows), wanted)
        loss.backward()
        return loss

    folder = Path(os.environ["UNBROKEN_FOLDER"])
    kept = {name: part for name, part in state.items() if name != forget}
    with Run(folder, identity=Identity({"loop": "lbfgs"}), state=kept, stop=stop, every=4) as run:
        for epoch in run.epochs(EPOCHS, loader):
            for _, (rows, wanted) in epoch.batches(loader):
                run.log(loss=optimizer.step(partial(closure, rows, wanted)))
            if epoch.number < AVERAGED_FROM:
                state["schedule"].step()
            else:
                state["average"].update_parameters(model)
                state["average-rate"].step()
        update_bn(loader, state["average"])
        torch.save(state["average"].state_dict(), folder / "average.pt")


if __name__ == "__main__":
    main(STOP, *sys.argv[1:])
