"""Objects of which each process has a piece: refused by name before anything is read from them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch

from unbroken.errors import CheckpointError

_SHARDED = ("FSDPModule", "FullyShardedDataParallel", "ZeroRedundancyOptimizer", "DTensor", "ShardedTensor")
"""Known by name: to import them all would cost every start a second."""


def check_not_sharded(state: Mapping[str, object]) -> None:
    """Make sure that each process has all of every object in the state.

    Reading some of them is a talk of all processes, so that rank 0 alone would wait for ever.

    Raises:
        CheckpointError: It has a piece of one, which is named.
    """
    for name, holder in state.items():
        if kind := _find_shards(holder):
            raise CheckpointError(
                f"`{name}` in the state is sharded over the processes ({kind}), expected all of it on each: rank 0, "
                "which stores the state, has a piece. Next: train it with DistributedDataParallel; or give each "
                "rank's pieces, such as `detach().to_local()` of each DTensor, in `Run(per_rank=…)`.",
                "sharded",
            )


def _find_shards(holder: object) -> str | None:
    kinds = (kind for part in _parts_of(holder) for kind in type(part).__mro__)
    names = (kind.__name__ for kind in kinds if kind.__module__.startswith("torch.distributed."))
    return next((name for name in names if name in _SHARDED), None)


def _parts_of(holder: object) -> Iterator[object]:
    yield holder
    if isinstance(holder, torch.nn.Module):
        yield from holder.modules()
        yield from holder.parameters()
        yield from holder.buffers()
    elif isinstance(holder, torch.optim.Optimizer):
        yield from (parameter for group in holder.param_groups for parameter in group["params"])
