"""Mode `exact`: gradients of virtual shards, folded over one tree: the same bytes with any number of processes.

Shapes: V shards, B/V examples in a shard.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from torch import Tensor

from latentwire.training.gradients import BatchGradients, gradients_per_batch
from latentwire.training.loop import Trainer
from latentwire.training.out_of_memory import out_of_memory_errors
from unbroken.exact.fold import fold, owned_shards
from unbroken.exact.group import SOLO, Group
from unbroken.exact.randomness import derive_seed, seed_all


@dataclass
class Exact:
    """Mean gradients and loss terms of a step, folded over the shards of all processes."""

    trainer: Trainer
    group: Group = SOLO
    shards_per_pass: int = 1
    """Shards that the frozen models read in one pass; more than one only where bits do not change."""

    @property
    def owned_shards(self) -> range:
        """The shards of this process."""
        return owned_shards(self.group.rank, self.group.size, self.trainer.settings.shards)

    def __call__(self, step: int) -> tuple[list[Tensor], dict[str, Tensor]]:
        """See `latentwire.training.loop.Gradients`."""
        names: list[str] = []
        ready: dict[int, BatchGradients] = {}

        def leaf(shard: int) -> list[Tensor]:
            if shard not in ready:
                part = range(shard, min(shard + self.shards_per_pass, self.owned_shards.stop))
                ready.update(zip(part, self.compute_shards(step, part), strict=True))
            computed = ready.pop(shard)
            names[:] = computed.means
            return [*computed.gradients, *computed.means.values()]

        shards, batch = self.trainer.settings.shards, self.trainer.settings.batch
        with out_of_memory_errors(batch // shards, f"a virtual shard: train.batch {batch} / train.shards {shards}"):
            total = [value / shards for value in fold(leaf, shards, self.group)]
        count = len(total) - len(names)
        return total[:count], dict(zip(names, total[count:], strict=True))

    def compute_shards(self, step: int, shards: Iterable[int]) -> list[BatchGradients]:
        """Gradients of each of some shards, with one pass of the frozen models over all of them."""
        chosen, trainer = list(shards), self.trainer
        return gradients_per_batch(
            trainer.method,
            trainer.receivers,
            [trainer.shard(step, shard) for shard in chosen],
            trainer.settings.losses,
            lambda position: seed_all(derive_seed(trainer.seed, step, chosen[position], "dropout")),
        )
