"""The training loop: sums over virtual shards, one AdamW step, a journal line; `unbroken.Run` keeps it alive.

Shapes: V shards, B/V examples in a shard.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from latentwire.models.features import Features
from latentwire.models.receiver import Receiver
from latentwire.models.wire import Wire
from latentwire.sections import Train
from latentwire.training.objective import Batch, objective
from latentwire.training.schedule import warmup_cosine
from unbroken.elastic import fold
from unbroken.randomness import sample_ids, seed_all, stream
from unbroken.run import Run


@dataclass(frozen=True)
class Data:
    """Features of a split with their labels."""

    features: Features
    labels: Sequence[int]
    length: int
    """Tokens that every example is padded to."""

    def batch(self, indices: Sequence[int]) -> Batch:
        """The examples at some positions."""
        states, mask = self.features.padded(indices, self.length)
        return Batch(states, mask, torch.tensor([self.labels[i] for i in indices]))


@dataclass(frozen=True)
class Trainer:
    """Everything that one step needs."""

    wire: Wire
    receivers: Sequence[Receiver]
    data: Data
    settings: Train
    seed: int
    validate: Callable[[], Mapping[str, float]]
    """Metrics of the validation split, by name."""

    def optimizer(self) -> torch.optim.AdamW:
        """AdamW with this method's peak rate."""
        return torch.optim.AdamW(self.wire.parameters(), lr=self.settings.lr, weight_decay=self.settings.weight_decay)

    def schedule(self, optimizer: torch.optim.Optimizer) -> torch.optim.lr_scheduler.LambdaLR:
        """Linear warm-up, then a cosine to 0."""
        return warmup_cosine(optimizer, self.settings.warmup, self.settings.steps)

    def gradients(self, step: int) -> tuple[list[Tensor], dict[str, Tensor]]:
        """Mean gradient of each parameter, and the mean loss terms, of one step's global batch."""
        size = self.settings.batch // self.settings.shards
        indices = sample_ids(self.seed, step, self.settings.batch, len(self.data.features))
        names: list[str] = []

        def leaf(shard: int) -> list[Tensor]:
            seed_all(stream(self.seed, step, shard, "dropout"))
            batch = self.data.batch(indices[shard * size : (shard + 1) * size].tolist())
            loss, terms = objective(self.wire, self.receivers, batch, self.settings.losses)
            gradients = torch.autograd.grad(loss, list(self.wire.parameters()))
            names[:] = ["loss", *terms]
            return [*gradients, loss.detach(), *terms.values()]

        total = [value / self.settings.shards for value in fold(leaf, self.settings.shards)]
        count = len(total) - len(names)
        return total[:count], dict(zip(names, total[count:], strict=True))


def train(
    trainer: Trainer,
    run: Run,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    advance: Callable[..., None],
) -> None:
    """Do all steps that the run has not done; returns when the final checkpoint is durable.

    Raises:
        unbroken.preemption.Preempted: A signal came; everything up to the last step is in a checkpoint.
    """
    settings = trainer.settings
    parameters = list(trainer.wire.parameters())
    for step in run.steps(settings.steps):
        trainer.wire.train()
        gradients, means = trainer.gradients(step)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        norm = nn.utils.clip_grad_norm_(parameters, settings.clip)
        rate = schedule.get_last_lr()[0]
        optimizer.step()
        schedule.step()
        means_by_name = {f"train/{name}": float(value) for name, value in means.items()}
        run.log(**means_by_name, **{"train/gradient_norm": float(norm), "train/lr": rate})
        if step % settings.validate_.every == 0 or step == settings.steps:
            trainer.wire.eval()
            run.log(**{f"validation/{name}": value for name, value in trainer.validate().items()})
        advance(loss=means_by_name["train/loss"])
