"""Label scores of a receiver for wires and for texts. No function here takes a gold label.

Shapes: N examples, C labels, M slots, d wire width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from latentwire.models.features import Features
from latentwire.models.receiver import Receiver
from latentwire.models.wire import Wire

Advance = Callable[[int], None]


@torch.no_grad()
def write_wires(wire: Wire, features: Features, rows: Sequence[int], length: int, batch: int) -> Tensor:
    """Wires [N, M, d] of some examples of a split by position, in float16, as they are sent."""
    wire.eval()
    states = (features.padded(rows[first : first + batch], length) for first in range(0, len(rows), batch))
    return torch.cat([wire.write(*padded).half() for padded in states])


@torch.no_grad()
def score_wires(
    wire: Wire, receiver: Receiver, wires: Tensor, batch: int, advance: Advance, words: Sequence[int] = ()
) -> Tensor:
    """Log-likelihood [N, C + K] of every label, and of K other tokens in its place, after each wire [N, M, d]."""
    wire.eval()
    scores = []
    for rows in wires.split(batch):
        scores.append(receiver.label_log_likelihoods(list(wire.read(rows.float(), receiver.name)), words))
        advance(len(rows))
    return torch.cat(scores)


@torch.no_grad()
def score_texts(receiver: Receiver, texts: Sequence[str], max_tokens: int, batch: int, advance: Advance) -> Tensor:
    """Log-likelihood [N, C] of every label after the first `max_tokens` tokens of each text.

    Texts of about one length share a batch, since all are padded to the longest.
    """
    lengths = [len(receiver.tokenise_text(text, max_tokens)) for text in texts]
    order = sorted(range(len(texts)), key=lambda i: lengths[i])
    scores = []
    for first in range(0, len(texts), batch):
        chosen = order[first : first + batch]
        middle = receiver.embed_texts([texts[i] for i in chosen], max_tokens)
        scores.append(receiver.label_log_likelihoods(middle))
        advance(len(chosen))
    return torch.cat(scores)[torch.tensor(order).argsort()]


@torch.no_grad()
def label_prior(receiver: Receiver) -> Tensor:
    """Log-likelihood [C] of every label after a text without content (Zhao et al. 2021, "N/A")."""
    return receiver.label_log_likelihoods(receiver.embed_texts(["N/A"], 8))[0]


@torch.no_grad()
def generate_texts(wire: Wire, receiver: Receiver, wires: Tensor, tokens: int) -> list[str]:
    """What a receiver says freely, by greedy decoding of `tokens` tokens, after each sent wire [N, M, d]."""
    wire.eval()
    return [receiver.decode(ids) for ids in receiver.generate(list(wire.read(wires.float(), receiver.name)), tokens)]
