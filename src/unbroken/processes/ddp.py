"""DistributedDataParallel as it is: which of its modules a run trains, and sums of gradients that a resume repeats.

torch lays the gradients out in buckets before the first backward pass, and anew after it, in the order in which they
became ready. A ring adds three or more numbers in an order that depends on their place in the bucket, so the first
step after a resume would add in another order than that step of a run that was not interrupted.
"""

import gc
from collections.abc import Iterable, Iterator

import torch
import torch.distributed as dist
from torch import Tensor
from torch._C._distributed_c10d import GradBucket
from torch.futures import Future
from torch.nn.parallel import DistributedDataParallel

from unbroken.errors import UnbrokenError
from unbroken.processes.gathering import gather_tensors

_COMMUTATIVE = 2
"""Ranks up to which no order of addition changes a sum."""


def fix_sum_order(ddp: DistributedDataParallel) -> None:
    """Average this module's gradients by a tree over the ranks, wherever a gradient lies in its bucket.

    As many bytes are sent as by a ring. The gradients of two ranks are the same bytes as before. Call it once, before
    the first backward pass.

    Raises:
        RuntimeError: The module has a communication hook already.
    """
    ddp.register_comm_hook(ddp.process_group, average_by_tree)


def average_by_tree(ranks: dist.ProcessGroup, bucket: GradBucket) -> Future[Tensor]:
    """The communication hook: each rank adds one slice for all, in the order of ranks, and sends the sum around.

    Args:
        ranks: Those that train together.
        bucket: Gradients of one dtype, flat.
    """
    gradients, size = bucket.buffer(), ranks.size()
    padded = torch.nn.functional.pad(gradients / size, (0, -len(gradients) % size))
    slices = torch.empty_like(padded)
    dist.all_to_all_single(slices, padded, group=ranks)
    gather_tensors(padded, _add_by_tree(list(slices.chunk(size))), ranks)
    done: Future[Tensor] = Future(devices=[gradients.device] if gradients.is_cuda else [])
    done.set_result(padded[: len(gradients)])
    return done


def _add_by_tree(parts: list[Tensor]) -> Tensor:
    while len(parts) > 1:
        pairs = [left + right for left, right in zip(parts[::2], parts[1::2], strict=False)]
        parts = pairs + parts[len(pairs) * 2 :]
    return parts[0]


def find_ddp_modules(state: Iterable[object]) -> list[DistributedDataParallel]:
    """The modules of this process that train a parameter which is in the state."""
    held = {id(tensor) for holder in state for tensor in _tensors_of(holder)}
    return [ddp for ddp in _live_ddp_modules() if any(id(tensor) in held for tensor in ddp.parameters())]


def check_sum_order(modules: Iterable[DistributedDataParallel]) -> None:
    """Make sure that a resume would repeat the sums of these modules.

    Raises:
        UnbrokenError: One adds in an order that changes after the first step of a start.
    """
    if any(_changes_its_order(ddp) for ddp in modules):
        raise UnbrokenError(
            "A DistributedDataParallel in the state adds the gradients of three or more ranks in an order that changes "
            "after the first step of every start, so that a resumed run would not end in the same bytes. Next: call "
            "`unbroken.processes.ddp.fix_sum_order(ddp)` after you made it, or make it with "
            "find_unused_parameters=True and without static_graph."
        )


def _changes_its_order(ddp: DistributedDataParallel) -> bool:
    if ddp.process_group.size() <= _COMMUTATIVE or any(not _is_of_torch(hook) for hook, _ in ddp._comm_hooks):
        return False  # a hook of the program's own is its own affair
    return ddp.static_graph or not ddp.find_unused_parameters


def _is_of_torch(hook: object) -> bool:
    return getattr(hook, "__module__", "").startswith("torch.")


def _tensors_of(holder: object) -> Iterator[Tensor]:
    if isinstance(holder, torch.nn.Module):
        yield from holder.parameters()
    elif isinstance(holder, torch.optim.Optimizer):
        yield from (parameter for group in holder.param_groups for parameter in group["params"])


def _live_ddp_modules() -> Iterator[DistributedDataParallel]:
    # A program may keep only the module inside in its state, which does not know what wraps it.
    for candidate in gc.get_objects():
        if issubclass(type(candidate), DistributedDataParallel):
            yield candidate
