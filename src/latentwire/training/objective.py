"""What is minimised: answers read from one wire by every receiver.

Shapes: B batch, T tokens, M slots, d wire width, D_s sender width, C labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from latentwire.models.receiver import Receiver
from latentwire.models.wire import Wire
from latentwire.sections import Losses


@dataclass(frozen=True)
class Batch:
    """Sender states of some examples and their labels."""

    states: Tensor
    """[B, T, D_s] float32."""
    mask: Tensor
    """[B, T] bool; False at padding."""
    labels: Tensor
    """[B] int64, positions in the task's labels."""


def objective(
    wire: Wire, receivers: Sequence[Receiver], batch: Batch, weights: Losses
) -> tuple[Tensor, dict[str, Tensor]]:
    """Weighted loss of one batch and its terms, each a mean over examples and receivers (method.md, part 1)."""
    written = wire.write(batch.states, batch.mask)
    terms = {f"token_ce/{r.name}": token_ce(wire, r, written, batch.labels) for r in receivers if weights.token_ce}
    terms |= {f"label_ce/{r.name}": label_ce(wire, r, written, batch.labels) for r in receivers if weights.label_ce}
    loss = torch.zeros(())
    for name, term in terms.items():
        loss = loss + getattr(weights, name.partition("/")[0]) * term / len(receivers)
    if weights.collapse:
        terms["collapse"] = collapse(written)
        loss = loss + weights.collapse * terms["collapse"]
    return loss, {name: term.detach() for name, term in terms.items()}


def token_ce(wire: Wire, receiver: Receiver, written: Tensor, labels: Tensor) -> Tensor:
    """Mean over examples of the answer's cross-entropy per token, in nats; wire [B, M, d], labels [B]."""
    answers = [receiver.layout.answers[label] for label in labels.tolist()]
    lengths = torch.tensor([len(answer) for answer in answers])
    middle = list(wire.read(written, receiver.name))
    return -(receiver.answer_log_likelihoods(middle, answers) / lengths).mean()


def label_ce(wire: Wire, receiver: Receiver, written: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy over the label set's summed token log-likelihoods, in nats; wire [B, M, d], labels [B]."""
    scores = receiver.label_log_likelihoods(list(wire.read(written, receiver.name)))
    return F.cross_entropy(scores, labels)


def collapse(written: Tensor) -> Tensor:
    """Mean off-diagonal cosine of the flattened wires [B, M, d] of a batch: 1 when all wires are the same."""
    flat = F.normalize(written.flatten(1), dim=1)
    cosines = flat @ flat.T
    return (cosines.sum() - cosines.trace()) / (len(flat) * (len(flat) - 1))
