"""What is minimised: answers read from one wire by every receiver.

Shapes: B batch, T tokens, M slots, d wire width, D_s / D_r hidden widths of sender and receiver, C labels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from latentwire.models.receiver import Receiver
from latentwire.params.sections import Losses


@dataclass(frozen=True)
class Batch:
    """Sender states of some examples and their labels."""

    states: Tensor
    """[B, T, D_s] float32."""
    mask: Tensor
    """[B, T] bool; False at padding."""
    labels: Tensor
    """[B] int64, positions in the task's labels."""


def supervision_terms(receiver: Receiver, read: Tensor, labels: Tensor, weights: Losses) -> dict[str, Tensor]:
    """The terms with a weight, each by example [B], for what a receiver reads [B, M, D_r]."""
    terms = {}
    if weights.token_ce:
        terms["token_ce"] = token_ce(receiver, read, labels)
    if weights.label_ce:
        terms["label_ce"] = label_ce(receiver, read, labels)
    return terms


def weighted_sum(terms: Mapping[str, Tensor], weights: Losses) -> Tensor:
    """Sum of terms times their weights."""
    return torch.stack([getattr(weights, name) * term for name, term in terms.items()]).sum(dim=0)


def token_ce(receiver: Receiver, read: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of the answer per token, in nats, by example [B]; read [B, M, D_r], labels [B]."""
    answers = [receiver.layout.answers[label] for label in labels.tolist()]
    lengths = torch.tensor([len(answer) for answer in answers])
    return -(receiver.answer_log_likelihoods(list(read), answers) / lengths)


def label_ce(receiver: Receiver, read: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy over the label set's summed token log-likelihoods, in nats, by example [B]."""
    return F.cross_entropy(receiver.label_log_likelihoods(list(read)), labels, reduction="none")


def wire_similarity(written: Tensor) -> Tensor:
    """Mean off-diagonal cosine of the flattened wires [B, M, d] of a batch: 1 when all wires are the same."""
    flat = F.normalize(written.flatten(1), dim=1)
    cosines = flat @ flat.T
    return (cosines.sum() - cosines.trace()) / (len(flat) * (len(flat) - 1))
