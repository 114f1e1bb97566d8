"""Gradients of several batches, each its own; where it can be, with one pass of the frozen receivers over all of them.

The receivers are most of the work. Where they are not trained and read one shape, what they do to one example needs
nothing of another: their forward and backward may run over several batches at once, between the methods' own forward
and backward, which stay apart. Whether that changes bits depends on the kernels; `latentwire.training.shard_batching`
finds out. With texts of other lengths, or parameters inside a receiver, every batch has passes of its own.

Shapes: k batches of B examples, M slots, D_r hidden width of a receiver.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from latentwire.models.methods import AnyMethod
from latentwire.models.receiver import Receiver
from latentwire.params.sections import Losses
from latentwire.training.objective import Batch, supervision_terms, weighted_sum


@dataclass(frozen=True)
class BatchGradients:
    """The gradient of one batch's loss by parameter, and the means over its examples by name."""

    gradients: list[Tensor]
    means: dict[str, Tensor]


@dataclass
class _WrittenBatch:
    """A batch on its way: its message, and what each receiver reads with the gradient there [B, M, D_r]."""

    message: Any
    read: list[Tensor]
    gradients_at_read: list[Tensor]
    loss: Tensor
    terms: dict[str, Tensor]


def gradients_per_batch(
    method: AnyMethod,
    receivers: Sequence[Receiver],
    batches: Sequence[Batch],
    weights: Losses,
    begin: Callable[[int], None],
) -> list[BatchGradients]:
    """Compute the gradients of each batch; all batches are of one size.

    Args:
        method: What is trained.
        receivers: They answer; the loss is the mean over them.
        batches: k of them.
        weights: Of the terms of the loss.
        begin: Told the position of a batch before its message is written: the place to seed dropout.
    """
    compute = _gradients_together if method.reads_in_one_shape else _gradients_one_by_one
    return compute(method, receivers, batches, weights, begin)


def _gradients_one_by_one(
    method: AnyMethod,
    receivers: Sequence[Receiver],
    batches: Sequence[Batch],
    weights: Losses,
    begin: Callable[[int], None],
) -> list[BatchGradients]:
    computed = []
    for position, batch in enumerate(batches):
        begin(position)
        computed.append(_gradients_alone(method, receivers, batch, weights))
    return computed


def _gradients_together(
    method: AnyMethod,
    receivers: Sequence[Receiver],
    batches: Sequence[Batch],
    weights: Losses,
    begin: Callable[[int], None],
) -> list[BatchGradients]:
    written = []
    for position, batch in enumerate(batches):
        begin(position)
        written.append(_write_batch(method, receivers, batch))
    for index, receiver in enumerate(receivers):
        _read_batches(receiver, index, len(receivers), written, torch.cat([b.labels for b in batches]), weights)
    return [_backpropagate(method, batch, weights) for batch in written]


def _gradients_alone(method: AnyMethod, receivers: Sequence[Receiver], batch: Batch, weights: Losses) -> BatchGradients:
    """One batch through every receiver in turn, to the parameters wherever they are."""
    message, parameters = method.write(batch), list(method.parameters())
    parts: list[Callable[[], tuple[Tensor, dict[str, Tensor]]]] = [
        partial(_supervise, method, r, message, batch.labels, weights, len(receivers)) for r in receivers
    ]
    similarity = method.similarity(message) if weights.collapse else None
    if similarity is not None:
        parts.append(lambda: (weights.collapse * similarity, {"collapse": similarity.detach()}))
    gradients, loss = [torch.zeros_like(parameter) for parameter in parameters], torch.zeros(())
    terms: dict[str, Tensor] = {}
    for position, compute in enumerate(parts, start=1):
        part, own_terms = compute()
        # What was written is in the graph of every part.
        retain = position < len(parts)
        own = torch.autograd.grad(part, parameters, retain_graph=retain, materialize_grads=True)
        gradients = [total + gradient for total, gradient in zip(gradients, own, strict=True)]
        loss, terms = loss + part.detach(), terms | own_terms
    return BatchGradients(gradients, {"loss": loss, **terms})


def _supervise(
    method: AnyMethod, receiver: Receiver, message: Any, labels: Tensor, weights: Losses, count: int
) -> tuple[Tensor, dict[str, Tensor]]:
    """One receiver's share of the loss, and its terms."""
    by_example = supervision_terms(receiver, method.read(message, receiver), labels, weights)
    means = {name: values.mean() for name, values in by_example.items()}
    terms = {f"{name}/{receiver.name}": mean.detach() for name, mean in means.items()}
    return weighted_sum(means, weights) / count, terms


def _write_batch(method: AnyMethod, receivers: Sequence[Receiver], batch: Batch) -> _WrittenBatch:
    message = method.write(batch)
    read = [torch.stack(method.read(message, receiver)) for receiver in receivers]
    return _WrittenBatch(message, read, [], torch.zeros(()), {})


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


def _backpropagate(method: AnyMethod, batch: _WrittenBatch, weights: Losses) -> BatchGradients:
    """From the gradients at what was read, and the loss that speaks of the message alone, to parameters."""
    outputs, upstream = list(batch.read), list(batch.gradients_at_read)
    loss, terms = batch.loss, dict(batch.terms)
    similarity = method.similarity(batch.message) if weights.collapse else None
    if similarity is not None:
        outputs.append(weights.collapse * similarity)
        upstream.append(torch.ones(()))
        loss, terms["collapse"] = loss + outputs[-1].detach(), similarity.detach()
    gradients = torch.autograd.grad(outputs, list(method.parameters()), upstream)
    return BatchGradients(list(gradients), {"loss": loss, **terms})
