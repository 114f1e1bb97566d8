"""One collective of torch.distributed that has two names: the new one from some 2.x on, and then the old one warns."""

from __future__ import annotations

import torch.distributed as dist
from torch import Tensor


def gather_tensors(everything: Tensor, own: Tensor, ranks: dist.ProcessGroup | None) -> None:
    """Fill `everything` with the `own` of each rank, in the order of ranks.

    Args:
        everything: As long as all of them together, and changed.
        own: Of one length on every rank.
        ranks: Those that exchange; None for all.
    """
    if hasattr(dist, "all_gather_single"):
        dist.all_gather_single(everything, own, group=ranks)
    else:
        dist.all_gather_into_tensor(everything, own, group=ranks)
