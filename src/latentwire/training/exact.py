"""Mode `exact`: gradients of virtual shards, folded over one tree, so that any number of processes has the same bytes.

Shapes: V shards, B/V examples in a shard.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from torch import Tensor

from latentwire.training.gradients import Slope, slopes
from latentwire.training.loop import Trainer
from latentwire.training.out_of_memory import explained
from unbroken.exact.fold import fold, owned_shards
from unbroken.exact.group import SOLO, Group
from unbroken.exact.randomness import derive_seed, seed_all


@dataclass
class Exact:
    """Mean gradients and loss terms of a step, folded over the shards of all processes."""

    trainer: Trainer
    group: Group = SOLO
    together: int = 1
    """Shards that the frozen models read in one pass; more than one only where bits do not change."""

    @property
    def mine(self) -> range:
        """The shards of this process."""
        return owned_shards(self.group.rank, self.group.size, self.trainer.settings.shards)

    def __call__(self, step: int) -> tuple[list[Tensor], dict[str, Tensor]]:
        """See `latentwire.training.loop.Gradients`."""
        names: list[str] = []
        ready: dict[int, Slope] = {}

        def leaf(shard: int) -> list[Tensor]:
            if shard not in ready:
                part = range(shard, min(shard + self.together, self.mine.stop))
                ready.update(zip(part, self.slopes(step, part), strict=True))
            slope = ready.pop(shard)
            names[:] = slope.means
            return [*slope.gradients, *slope.means.values()]

        shards, batch = self.trainer.settings.shards, self.trainer.settings.batch
        with explained(batch // shards, f"a virtual shard: train.batch {batch} / train.shards {shards}"):
            total = [value / shards for value in fold(leaf, shards, self.group)]
        count = len(total) - len(names)
        return total[:count], dict(zip(names, total[count:], strict=True))

    def slopes(self, step: int, shards: Iterable[int]) -> list[Slope]:
        """One for each of some shards, in one pass of the frozen models."""
        chosen, trainer = list(shards), self.trainer
        return slopes(
            trainer.wire,
            trainer.receivers,
            [trainer.shard(step, shard) for shard in chosen],
            trainer.settings.losses,
            lambda position: seed_all(derive_seed(trainer.seed, step, chosen[position], "dropout")),
        )
