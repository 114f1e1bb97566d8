"""How fast this machine computes what the stages mostly compute: the linear layers of frozen models, on one core."""

from __future__ import annotations

import time

from latentwire.environment import set_kernels
from unbroken.exact.kernels import Kernels

ROWS, WIDTH, INNER = 176, 576, 1536
"""A batch of 16 prompts with 11 positions, and a feed-forward layer of SmolLM2 135M."""
PASSES, ROUNDS = 20, 5


def probe_seconds(kernels: Kernels) -> float:
    """Processor seconds of a fixed number of passes on one thread, the least of a few rounds: about two seconds."""
    set_kernels(kernels)
    import torch
    from torch import nn

    from latentwire.models.frozen_linear import use_onednn_linear

    torch.set_num_threads(1)
    layers = nn.Sequential(nn.Linear(WIDTH, INNER), nn.Linear(INNER, WIDTH)).requires_grad_(requires_grad=False)
    use_onednn_linear(layers)
    rows, rounds = torch.ones(ROWS, WIDTH), []
    for _ in range(ROUNDS):
        began = time.process_time()
        for _ in range(PASSES):
            layers(rows)
        rounds.append(time.process_time() - began)
    return min(rounds)
