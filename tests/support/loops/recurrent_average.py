"""A recurrent model over one long text: its state is carried from step to step, and a moving average of it is saved."""

from __future__ import annotations

from unbroken.preemption import StopFlag

if __name__ == "__main__":
    STOP = StopFlag.install()

import os
import sys
from pathlib import Path
from typing import Any

import torch
from torch import nn

from unbroken.exact.randomness import seed_all
from unbroken.run import Run
from unbroken.run_folder.identity import Identity

STEPS, ROWS, LENGTH = 16, 4, 7
TEXT = torch.arange(ROWS * 50).reshape(ROWS, 50).mul(7).remainder(11)


class Model(nn.Module):
    """Predicts the next sign of a text."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.cell, self.head = nn.Embedding(11, 8), nn.LSTM(8, 8, batch_first=True), nn.Linear(8, 11)
        self.dropout = nn.Dropout(0.1)

    def forward(self, signs: torch.Tensor, carried: tuple[torch.Tensor, torch.Tensor]) -> tuple[torch.Tensor, Any]:
        """Logits (rows, length, 11) and what is carried on."""
        hidden, carried = self.cell(self.dropout(self.embed(signs)), carried)
        return self.head(hidden), carried


def main(stop: StopFlag, forget: str = "") -> None:
    """Train in the folder that `prove` gives."""
    torch.set_num_threads(1)
    seed_all(0)
    model = Model()
    optimizer = torch.optim.RMSprop(model.parameters(), lr=0.01, momentum=0.5)
    average = torch.optim.swa_utils.AveragedModel(model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.9))
    carried: dict[str, Any] = {"h": torch.zeros(1, ROWS, 8), "c": torch.zeros(1, ROWS, 8), "at": 0}
    state = {"model": model, "optimizer": optimizer, "average": average, "carried": carried}
    folder = Path(os.environ["UNBROKEN_FOLDER"])
    kept = {name: part for name, part in state.items() if name != forget}
    with Run(folder, identity=Identity({"loop": "recurrent"}), state=kept, stop=stop, every=5) as run:
        for _ in run.steps(STEPS):
            if carried["at"] + LENGTH >= TEXT.shape[1]:  # from the start of the text again
                carried.update(h=torch.zeros(1, ROWS, 8), c=torch.zeros(1, ROWS, 8), at=0)
            window = TEXT[:, carried["at"] : carried["at"] + LENGTH + 1]
            logits, (hidden, cell) = model(window[:, :-1], (carried["h"], carried["c"]))
            loss = nn.functional.cross_entropy(logits.flatten(0, 1), window[:, 1:].flatten())
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            average.update_parameters(model)
            carried.update(h=hidden.detach(), c=cell.detach(), at=carried["at"] + LENGTH)
            run.log(loss=loss)


if __name__ == "__main__":
    main(STOP, *sys.argv[1:])
