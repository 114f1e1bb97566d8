"""Learning-rate schedule."""

from __future__ import annotations

import math

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR


def warmup_cosine(optimizer: Optimizer, warmup: int, steps: int) -> LambdaLR:
    """Linear from peak/warmup to the peak in `warmup` steps, then half a cosine to 0 at `steps`."""

    def factor(done: int) -> float:
        if done < warmup:
            return (done + 1) / warmup
        return 0.5 * (1 + math.cos(math.pi * (done - warmup) / (steps - warmup)))

    return LambdaLR(optimizer, factor)
