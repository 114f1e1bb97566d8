"""Label scores of a receiver for messages and for texts. No function here takes a gold label.

Shapes: N examples, C labels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from latentwire.models.features import StoredInputs
from latentwire.models.methods import AnyMethod
from latentwire.models.receiver import Receiver

Advance = Callable[[int], None]


@torch.no_grad()
def write_messages(method: AnyMethod, inputs: StoredInputs, rows: Sequence[int], batch: int) -> Any:
    """The message of some examples of a split by position, as it is sent."""
    method.eval()
    parts = (inputs.take(rows[first : first + batch]) for first in range(0, len(rows), batch))
    return method.pack([method.write(part) for part in parts])


@torch.no_grad()
def score_messages(
    method: AnyMethod, receiver: Receiver, message: Any, batch: int, advance: Advance, words: Sequence[int] = ()
) -> Tensor:
    """Log-likelihood [N, C + K] of every label, and of K other tokens in its place, after what N examples sent."""
    method.eval()
    scores = []
    for first in range(0, len(message), batch):
        read = method.read(message[first : first + batch], receiver)
        scores.append(receiver.label_log_likelihoods(read, words))
        advance(len(read))
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
def generate_texts(method: AnyMethod, receiver: Receiver, message: Any, tokens: int) -> list[str]:
    """What a receiver says freely, by greedy decoding of `tokens` tokens, after what each example sent."""
    method.eval()
    return [receiver.decode(ids) for ids in receiver.generate(method.read(message, receiver), tokens)]
