"""A compiled body on a sparse embedding, an optimizer for each, and a moving average by hand."""

from __future__ import annotations

from unbroken.preemption import StopFlag

if __name__ == "__main__":
    STOP = StopFlag.install()

import copy
import os
import sys
from pathlib import Path
from typing import Any

import torch
from torch import nn

from unbroken.exact.randomness import sample_ids, seed_all
from unbroken.run import Run
from unbroken.run_folder.identity import Identity

STEPS, WORDS, TEXTS, BATCH = 12, 20, 40, 8


class Model(nn.Module):
    """Three logits for a text of four words."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(WORDS, 6, sparse=True)
        self.body: Any = nn.Sequential(nn.Linear(6, 8), nn.GELU(), nn.Dropout(0.1), nn.Linear(8, 3))

    def forward(self, words: torch.Tensor) -> torch.Tensor:
        """(batch, 4) to (batch, 3)."""
        logits: torch.Tensor = self.body(self.embed(words).mean(1))
        return logits


def main(stop: StopFlag, forget: str = "", backend: str = "aot_eager") -> None:
    """Train in the folder that `prove` gives."""
    torch.set_num_threads(1)
    seed_all(0)
    words = torch.randint(0, WORDS, (TEXTS, 4))
    model = Model()
    average = copy.deepcopy(model).requires_grad_(False)
    model.body = torch.compile(model.body, backend=backend)
    sparse = torch.optim.SparseAdam(model.embed.parameters(), lr=0.02)
    dense = torch.optim.Adam(model.body.parameters(), lr=0.01, amsgrad=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(dense, 0.02, total_steps=STEPS)
    state = {"model": model, "average": average, "sparse": sparse, "dense": dense, "schedule": schedule}
    folder = Path(os.environ["UNBROKEN_FOLDER"])
    kept = {name: part for name, part in state.items() if name != forget}
    with Run(folder, identity=Identity({"loop": "compiled"}), state=kept, stop=stop, every=5) as run:
        for step in run.steps(STEPS):
            rows = sample_ids(0, step, BATCH, TEXTS)
            loss = nn.functional.cross_entropy(model(words[rows]), words[rows].sum(1) % 3)
            sparse.zero_grad()
            dense.zero_grad()
            loss.backward()
            sparse.step()
            dense.step()
            schedule.step()
            with torch.no_grad():
                for slow, fast in zip(average.parameters(), model.parameters(), strict=True):
                    slow.lerp_(fast, 0.1)
            run.log(loss=loss)


if __name__ == "__main__":
    main(STOP, *sys.argv[1:])
