"""Mode `throughput`: plain data parallelism. Faster where shards are small, but another number of processes, or another
micro-batch, gives other bits; results say so.

Shapes: B examples in a step, over all processes.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field

import torch
import torch.distributed as dist
from torch import Tensor

from latentwire.training.gradients import BatchGradients, gradients_per_batch
from latentwire.training.loop import Trainer
from latentwire.training.out_of_memory import is_out_of_memory, out_of_memory_errors
from unbroken.errors import PeerError
from unbroken.exact.fold import owned_shards
from unbroken.exact.group import SOLO, Group
from unbroken.exact.randomness import derive_seed, seed_all

log = logging.getLogger(__name__)


@dataclass
class Throughput:
    """Mean gradients and loss terms of a step: micro-batches as large as fit, then one all-reduce."""

    trainer: Trainer
    group: Group = SOLO
    micro_batch: int = field(init=False)
    """Examples in one forward; halved whenever memory runs out."""

    def __post_init__(self) -> None:
        settings = self.trainer.settings
        owned = owned_shards(self.group.rank, self.group.size, settings.batch)
        self.first, self.count = owned.start, len(owned)
        self.micro_batch = self.count

    def __call__(self, step: int) -> tuple[list[Tensor], dict[str, Tensor]]:
        """See `latentwire.training.loop.Gradients`."""
        owned = self.trainer.indices(step)[self.first : self.first + self.count]
        sums: list[Tensor] = []
        names: list[str] = []
        done = 0
        while done < self.count:
            computed = self._try_micro_batch(step, done, owned[done : done + self.micro_batch])
            if computed is not None:
                part = min(self.micro_batch, self.count - done)
                values = [part * value for value in (*computed.gradients, *computed.means.values())]
                sums = [a + b for a, b in zip(sums, values, strict=True)] if sums else values
                names[:] = computed.means
                done += part
        means = [value / self.trainer.settings.batch for value in self._all_reduce(sums)]
        count = len(means) - len(names)
        return means[:count], dict(zip(names, means[count:], strict=True))

    def _try_micro_batch(self, step: int, done: int, part: Sequence[int]) -> BatchGradients | None:
        """Gradients of one micro-batch; None where it does not fit and a smaller one is to be tried."""
        trainer = self.trainer
        seed = derive_seed(trainer.seed, step, self.first + done, "dropout")
        try:
            with out_of_memory_errors(1, "one alone") if len(part) == 1 else nullcontext():
                batches = [trainer.data.batch(part)]
                return gradients_per_batch(
                    trainer.method, trainer.receivers, batches, trainer.settings.losses, lambda _: seed_all(seed)
                )[0]
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            self._halve(len(part), str(error).splitlines()[0])
            return None

    def _halve(self, examples: int, why: str) -> None:
        self.micro_batch = (examples + 1) // 2
        log.warning("%d examples do not fit into one forward (%s): going on with %d.", examples, why, self.micro_batch)
        torch.cuda.empty_cache()

    def _all_reduce(self, values: list[Tensor]) -> list[Tensor]:
        """Sum over all processes, in whatever order the network likes."""
        if self.group.size == 1:
            return values
        flat = torch.cat([value.reshape(-1) for value in values])
        try:
            dist.all_reduce(flat)
        except RuntimeError as error:
            raise PeerError(
                f"Rank {self.group.rank} of {self.group.size} waited for the gradients of the others, but one is gone "
                f"({str(error).splitlines()[0]}). Checkpoints are intact. Next: run the same command again."
            ) from error
        parts = flat.split([value.numel() for value in values])
        return [part.view_as(value) for part, value in zip(parts, values, strict=True)]
