"""Two models against each other, in epochs: two optimizers in turn, spectral norm, a gradient penalty, older images."""

from __future__ import annotations

from unbroken.preemption import StopFlag

if __name__ == "__main__":
    STOP = StopFlag.install()

import os
import sys
from collections import deque
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from unbroken.exact.randomness import seed_all
from unbroken.run import Run
from unbroken.run_folder.identity import Identity

EPOCHS, SIZE, BATCH = 4, 4, 4


def gradient_penalty(critic: nn.Module, real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
    """How far the slope of the critic is from 1 between real and fake rows (batch, 2)."""
    share = torch.rand(len(real), 1)
    between = (share * real + (1 - share) * fake.detach()).requires_grad_()
    (slope,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
    return (slope.norm(dim=1) - 1).square().mean()


def main(stop: StopFlag, forget: str = "") -> None:
    """Train in the folder that `prove` gives."""
    torch.set_num_threads(1)
    seed_all(0)
    spectral = nn.utils.parametrizations.spectral_norm
    generator = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
    critic = nn.Sequential(spectral(nn.Linear(2, 8)), nn.LeakyReLU(0.2), spectral(nn.Linear(8, 1)))
    state: dict[str, Any] = {
        "generator": generator,
        "critic": critic,
        "generator-optimizer": torch.optim.Adam(generator.parameters(), lr=0.01, betas=(0.5, 0.9)),
        "critic-optimizer": torch.optim.Adam(critic.parameters(), lr=0.02, betas=(0.5, 0.9)),
        "older": {"fakes": deque(maxlen=3)},
        "numbers": np.random.default_rng(3),
    }
    older, numbers = state["older"], state["numbers"]
    folder = Path(os.environ["UNBROKEN_FOLDER"])
    kept = {name: part for name, part in state.items() if name != forget}
    with Run(folder, identity=Identity({"loop": "adversarial"}), state=kept, stop=stop, every=5) as run:
        for step in (step for epoch in run.epochs(EPOCHS, SIZE) for step in epoch.steps()):
            real = torch.from_numpy(numbers.normal(1.0, 0.5, (BATCH, 2))).float()
            fake = generator(torch.randn(BATCH, 3))
            older["fakes"].append(fake.detach())
            seen = older["fakes"][int(numbers.integers(len(older["fakes"])))]
            loss = critic(seen).mean() - critic(real).mean() + gradient_penalty(critic, real, fake)
            state["critic-optimizer"].zero_grad()
            loss.backward()
            state["critic-optimizer"].step()
            if step % 2 == 0:  # the critic is trained twice as often
                wanted = -critic(fake).mean()
                state["generator-optimizer"].zero_grad()
                wanted.backward()
                state["generator-optimizer"].step()
                run.log(generator=wanted)
            run.log(critic=loss)


if __name__ == "__main__":
    main(STOP, *sys.argv[1:])
