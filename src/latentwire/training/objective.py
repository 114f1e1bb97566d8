"""What is minimised: answers that every receiver gives to a message.

Shapes: B batch, L_i positions that an example has in the prompt, D_r width of a receiver's embeddings, C labels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from latentwire.models.methods import Inputs
from latentwire.models.receiver import Receiver
from latentwire.params.sections import Losses

Read = Tensor | Sequence[Tensor]
"""What a receiver reads of each example: [B, L, D_r], or [L_i, D_r] of each."""


@dataclass(frozen=True)
class Batch(Inputs):
    """Some examples with their labels."""

    labels: Tensor
    """[B] int64, positions in the task's labels."""


def supervision_terms(receiver: Receiver, read: Read, labels: Tensor, weights: Losses) -> dict[str, Tensor]:
    """The terms with a weight, each by example [B], for what a receiver reads."""
    terms = {}
    if weights.token_ce:
        terms["token_ce"] = token_ce(receiver, read, labels)
    if weights.label_ce:
        terms["label_ce"] = label_ce(receiver, read, labels)
    return terms


def weighted_sum(terms: Mapping[str, Tensor], weights: Losses) -> Tensor:
    """Sum of terms times their weights."""
    return torch.stack([getattr(weights, name) * term for name, term in terms.items()]).sum(dim=0)


def token_ce(receiver: Receiver, read: Read, labels: Tensor) -> Tensor:
    """Cross-entropy of the answer per token, in nats, by example [B]; labels [B]."""
    answers = [receiver.layout.answers[label] for label in labels.tolist()]
    lengths = torch.tensor([len(answer) for answer in answers])
    return -(receiver.answer_log_likelihoods(list(read), answers) / lengths)


def label_ce(receiver: Receiver, read: Read, labels: Tensor) -> Tensor:
    """Cross-entropy over the label set's summed token log-likelihoods, in nats, by example [B]."""
    return F.cross_entropy(receiver.label_log_likelihoods(list(read)), labels, reduction="none")
