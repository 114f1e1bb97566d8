"""Gradients of several batches, each its own, with one pass of the frozen receivers over all of them.

The receivers are most of the work and are not trained: what they do to one example needs nothing of another. So their
forward and backward may run over several batches at once, between the wires' own forward and backward, which stay
apart. Whether that changes bits depends on the kernels; `latentwire.training.shard_batching` finds out.

Shapes: k batches of B examples, M slots, D_r hidden width of a receiver.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from latentwire.models.receiver import Receiver
from latentwire.models.wire import Wire
from latentwire.params.sections import Losses
from latentwire.training.objective import Batch, collapse, supervision, weighted


@dataclass(frozen=True)
class Slope:
    """Of one batch: the gradient of its loss by parameter, and the means over its examples by name."""

    gradients: list[Tensor]
    means: dict[str, Tensor]


@dataclass
class _Written:
    """A batch on its way: its wire [B, M, d], and what each receiver reads with the gradient there [B, M, D_r]."""

    wire: Tensor
    read: list[Tensor]
    slopes: list[Tensor]
    loss: Tensor
    terms: dict[str, Tensor]


def slopes(
    wire: Wire,
    receivers: Sequence[Receiver],
    batches: Sequence[Batch],
    weights: Losses,
    begin: Callable[[int], None],
) -> list[Slope]:
    """One `Slope` for each batch; all batches are of one size.

    Args:
        wire: What is trained.
        receivers: Frozen; the loss is the mean over them.
        batches: k of them.
        weights: Of the terms of the loss.
        begin: Told the position of a batch before its wire is written: the place to seed dropout.
    """
    written = []
    for position, batch in enumerate(batches):
        begin(position)
        written.append(_write(wire, receivers, batch))
    for index, receiver in enumerate(receivers):
        _read(receiver, index, len(receivers), written, torch.cat([batch.labels for batch in batches]), weights)
    return [_slope(wire, one, weights) for one in written]


def _write(wire: Wire, receivers: Sequence[Receiver], batch: Batch) -> _Written:
    sent = wire.write(batch.states, batch.mask)
    return _Written(sent, [wire.read(sent, receiver.name) for receiver in receivers], [], torch.zeros(()), {})


def _read(
    receiver: Receiver, index: int, count: int, written: Sequence[_Written], labels: Tensor, weights: Losses
) -> None:
    """Loss terms of one receiver for all batches, and their gradients at what it reads."""
    leaves = [one.read[index].detach().requires_grad_() for one in written]
    by_example = supervision(receiver, torch.cat(leaves), labels, weights)
    losses = []
    by_batch = {name: values.chunk(len(written)) for name, values in by_example.items()}
    for position, one in enumerate(written):
        means = {name: chunks[position].mean() for name, chunks in by_batch.items()}
        losses.append(weighted(means, weights) / count)
        one.loss = one.loss + losses[-1].detach()
        one.terms |= {f"{name}/{receiver.name}": mean.detach() for name, mean in means.items()}
    for one, slope in zip(written, torch.autograd.grad(losses, leaves), strict=True):
        one.slopes.append(slope)


def _slope(wire: Wire, one: _Written, weights: Losses) -> Slope:
    outputs, slopes = list(one.read), list(one.slopes)
    loss, terms = one.loss, dict(one.terms)
    if weights.collapse:
        guard = collapse(one.wire)
        outputs.append(weights.collapse * guard)
        slopes.append(torch.ones(()))
        loss, terms["collapse"] = loss + outputs[-1].detach(), guard.detach()
    gradients = torch.autograd.grad(outputs, list(wire.parameters()), slopes)
    return Slope(list(gradients), {"loss": loss, **terms})
