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
from latentwire.training.objective import Batch, supervision_terms, weighted_sum, wire_similarity


@dataclass(frozen=True)
class BatchGradients:
    """The gradient of one batch's loss by parameter, and the means over its examples by name."""

    gradients: list[Tensor]
    means: dict[str, Tensor]


@dataclass
class _WrittenBatch:
    """A batch on its way: its wire [B, M, d], and what each receiver reads with the gradient there [B, M, D_r]."""

    wire: Tensor
    read: list[Tensor]
    gradients_at_read: list[Tensor]
    loss: Tensor
    terms: dict[str, Tensor]


def gradients_per_batch(
    wire: Wire,
    receivers: Sequence[Receiver],
    batches: Sequence[Batch],
    weights: Losses,
    begin: Callable[[int], None],
) -> list[BatchGradients]:
    """Compute the gradients of each batch; all batches are of one size.

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
        written.append(_write_batch(wire, receivers, batch))
    for index, receiver in enumerate(receivers):
        _read_batches(receiver, index, len(receivers), written, torch.cat([b.labels for b in batches]), weights)
    return [_backpropagate(wire, batch, weights) for batch in written]


def _write_batch(wire: Wire, receivers: Sequence[Receiver], batch: Batch) -> _WrittenBatch:
    sent = wire.write(batch.states, batch.mask)
    return _WrittenBatch(sent, [wire.read(sent, receiver.name) for receiver in receivers], [], torch.zeros(()), {})


def _read_batches(
    receiver: Receiver, index: int, count: int, written: Sequence[_WrittenBatch], labels: Tensor, weights: Losses
) -> None:
    """Loss terms of one receiver for all batches, and their gradients at what it reads."""
    leaves = [batch.read[index].detach().requires_grad_() for batch in written]
    by_example = supervision_terms(receiver, torch.cat(leaves), labels, weights)
    losses = []
    by_batch = {name: values.chunk(len(written)) for name, values in by_example.items()}
    for position, batch in enumerate(written):
        means = {name: chunks[position].mean() for name, chunks in by_batch.items()}
        losses.append(weighted_sum(means, weights) / count)
        batch.loss = batch.loss + losses[-1].detach()
        batch.terms |= {f"{name}/{receiver.name}": mean.detach() for name, mean in means.items()}
    for batch, gradient in zip(written, torch.autograd.grad(losses, leaves), strict=True):
        batch.gradients_at_read.append(gradient)


def _backpropagate(wire: Wire, batch: _WrittenBatch, weights: Losses) -> BatchGradients:
    """From the gradients at what was read, and the loss that speaks of the wire alone, to those of the parameters."""
    outputs, upstream = list(batch.read), list(batch.gradients_at_read)
    loss, terms = batch.loss, dict(batch.terms)
    if weights.collapse:
        similarity = wire_similarity(batch.wire)
        outputs.append(weights.collapse * similarity)
        upstream.append(torch.ones(()))
        loss, terms["collapse"] = loss + outputs[-1].detach(), similarity.detach()
    gradients = torch.autograd.grad(outputs, list(wire.parameters()), upstream)
    return BatchGradients(list(gradients), {"loss": loss, **terms})
