"""A stream whose length nobody knows: shuffled in a window, its position in the state; the run ends with it."""

from __future__ import annotations

from unbroken.preemption import StopFlag

if __name__ == "__main__":
    STOP = StopFlag.install()

import os
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from unbroken.exact.randomness import seed_all
from unbroken.run import Run
from unbroken.run_folder.identity import Identity

BATCH, WINDOW = 4, 6


def read_lines(begin: int) -> Iterator[list[float]]:
    """Samples from one on, as from a file or a socket; how many there are, nobody is told."""
    for number in range(begin, 61):
        yield [number / 61, (number * number % 61) / 61]


class Shuffled:
    """Batches in an order of its own: what is read and not yet given is part of the state."""

    def __init__(self) -> None:
        self.read, self.window, self.chance = 0, list[list[float]](), random.Random(1)

    def __iter__(self) -> Iterator[torch.Tensor]:
        lines = read_lines(self.read)
        while True:
            for line in lines:
                self.read += 1
                self.window.append(line)
                if len(self.window) == WINDOW:
                    break
            if len(self.window) < BATCH:
                return
            self.chance.shuffle(self.window)
            batch, self.window = self.window[:BATCH], self.window[BATCH:]
            yield torch.tensor(batch)

    def state_dict(self) -> dict[str, Any]:
        return {"read": self.read, "window": self.window, "chance": list(self.chance.getstate()[1])}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.read, self.window = state["read"], state["window"]
        self.chance.setstate((3, tuple(state["chance"]), None))


def main(stop: StopFlag, forget: str = "") -> None:
    """Train in the folder that `prove` gives."""
    torch.set_num_threads(1)
    seed_all(0)
    stream, model = Shuffled(), nn.Sequential(nn.Linear(1, 8), nn.Tanh(), nn.Dropout(0.1), nn.Linear(8, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    state = {"stream": stream, "model": model, "optimizer": optimizer}
    folder = Path(os.environ["UNBROKEN_FOLDER"])
    kept = {name: part for name, part in state.items() if name != forget}
    with Run(folder, identity=Identity({"loop": "stream"}), state=kept, stop=stop, every=5) as run:
        for _, batch in run.batches(stream):
            loss = (model(batch[:, :1]) - batch[:, 1:]).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            run.log(loss=loss)


if __name__ == "__main__":
    main(STOP, *sys.argv[1:])
