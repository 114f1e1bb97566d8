"""The training loop: mean gradients of a step, one AdamW step, a journal line; `unbroken.Run` keeps it alive."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from latentwire.models.features import Features, StoredInputs
from latentwire.models.methods import AnyMethod
from latentwire.models.receiver import Receiver
from latentwire.params.sections import Train
from latentwire.tasks.labelled import labelled_positions
from latentwire.training.label_balance import balance_draws
from latentwire.training.objective import Batch
from latentwire.training.schedule import warmup_cosine
from unbroken.exact.randomness import sample_ids
from unbroken.run import Run

Gradients = Callable[[int], tuple[list[Tensor], dict[str, Tensor]]]
"""Step → mean gradient of each parameter and mean loss terms by name, over the global batch, on every process."""


@dataclass(frozen=True)
class LabelledFeatures:
    """Examples of a split with their labels."""

    features: Features
    labels: Sequence[int]
    length: int
    """Tokens that every example is padded to."""
    texts: Sequence[str] = ()

    @property
    def inputs(self) -> StoredInputs:
        """The examples without their labels."""
        return StoredInputs(self.features, self.length, self.texts)

    def batch(self, indices: Sequence[int]) -> Batch:
        """The examples at some positions."""
        given, labels = self.inputs.take(indices), torch.tensor([self.labels[i] for i in indices])
        return Batch(given.states, given.mask, labels, texts=given.texts)


@dataclass(frozen=True)
class Trainer:
    """Everything that one step needs."""

    method: AnyMethod
    receivers: Sequence[Receiver]
    data: LabelledFeatures
    settings: Train
    seed: int
    validate: Callable[[], Mapping[str, float]]
    """Metrics of the validation split, by name, the same on every process."""

    def make_optimizer(self) -> torch.optim.AdamW:
        """AdamW at the peak rate.

        Fused, because the other ones call `torch.sqrt`, which MKL computes from approximations that every vendor's
        processors make with other bits. The fused one uses the processor's own root, which IEEE 754 settles.
        """
        settings = self.settings
        return torch.optim.AdamW(
            self.method.parameters(), lr=settings.lr, weight_decay=settings.weight_decay, fused=True
        )

    def make_schedule(self, optimizer: torch.optim.Optimizer) -> torch.optim.lr_scheduler.LambdaLR:
        """Linear warm-up, then a cosine to 0."""
        return warmup_cosine(optimizer, self.settings.warmup, self.settings.steps)

    def indices(self, step: int) -> list[int]:
        """Positions of a step's global batch in the training split: B of them."""
        batch = self.settings.batch
        if self.settings.balance:
            return self._balanced_draws[(step - 1) * batch : step * batch]
        positions: list[int] = sample_ids(self.seed, step, batch, len(self.data.features)).tolist()
        return positions

    @cached_property
    def _balanced_draws(self) -> list[int]:
        """Positions of all draws, from the examples that would be drawn without balance."""
        settings, labels = self.settings, dict(enumerate(self.data.labels))
        pool = labelled_positions(settings, self.seed, len(labels))
        return balance_draws(pool, labels, settings.steps * settings.batch, settings.balance)

    def shard(self, step: int, shard: int) -> Batch:
        """One virtual shard of a step: B/V examples."""
        size = self.settings.batch // self.settings.shards
        return self.data.batch(self.indices(step)[shard * size : (shard + 1) * size])


def train_method(
    trainer: Trainer,
    gradients: Gradients,
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
    parameters = list(trainer.method.parameters())
    for step in run.steps(settings.steps):
        trainer.method.train()
        mean_gradients, means = gradients(step)
        for parameter, gradient in zip(parameters, mean_gradients, strict=True):
            parameter.grad = gradient
        norm = nn.utils.clip_grad_norm_(parameters, settings.clip)
        rate = schedule.get_last_lr()[0]
        optimizer.step()
        schedule.step()
        means_by_name = {f"train/{name}": float(value) for name, value in means.items()}
        run.log(**means_by_name, **{"train/gradient_norm": float(norm), "train/lr": rate})
        if step % settings.validate_.every == 0 or step == settings.steps:
            trainer.method.eval()
            run.log(**{f"validation/{name}": value for name, value in trainer.validate().items()})
        advance(loss=means_by_name["train/loss"])
