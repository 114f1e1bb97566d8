"""Does a receiver read vectors as its library reads ids, and does it read at all? Asked whenever one is loaded.

Shapes: L tokens of a sentence, V vocabulary.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from latentwire.errors import ConfigurationError
from latentwire.models.layout import Prompt
from latentwire.models.receiver import Receiver

ENGLISH = "The capital of France is Paris, and the capital of Italy is Rome."
TOLERANCE = 1e-4
"""Nats by which log-probabilities may differ; both ways are the same operations on the same shapes, in any dtype."""


@torch.no_grad()
def check_reading(receiver: Receiver, *, english: bool) -> None:
    """Compare what a receiver says of a sentence's embeddings with what its model says of the sentence's ids.

    Args:
        receiver: The frozen model as it is scored.
        english: Whether it must do better on an English sentence than a guess among all tokens.

    Raises:
        ConfigurationError: The two differ, or its loss per token is that of guessing or worse.
    """
    ids = torch.tensor([*receiver.layout.bos, *receiver.tokenise(ENGLISH)])
    own, read = receiver.log_probabilities_of_ids(ids), _read_embeddings(receiver, ids)
    _check_same(receiver.name, float((own - read).abs().max()))
    if english:
        loss = float(F.nll_loss(read[:-1], ids[1:]))
        _check_loss(receiver.name, loss, math.log(read.shape[1]))


def _read_embeddings(receiver: Receiver, ids: Tensor) -> Tensor:
    embeddings = receiver.embed(ids)[None]
    mask = torch.ones(embeddings.shape[:2], dtype=torch.bool)
    prompt = Prompt(embeddings, mask, torch.full(mask.shape, -100))
    return receiver.log_probabilities(prompt, torch.zeros_like(ids), torch.arange(len(ids)))


def _check_same(name: str, difference: float) -> None:
    if not difference <= TOLERANCE:
        raise ConfigurationError(
            f"Model {name} does not read vectors as it reads token ids: its log-probabilities of {ENGLISH!r} differ by "
            f"{difference:.3g} nats between the two, expected at most {TOLERANCE:g}, so that no wire can be put in. "
            f"Next: name a receiver of another family than that of {name} in params.yaml."
        )


def _check_loss(name: str, loss: float, guessing: float) -> None:
    if not loss < guessing:
        raise ConfigurationError(
            f"Model {name} does not read English: its loss on {ENGLISH!r} is {loss:.2f} nats per token, expected less "
            f"than {guessing:.2f}, which a guess among all tokens has; weights or tokenizer are not those of a trained "
            f"model. Next: get its files again, or set models.{name}.reads_english to false in params.yaml where that "
            "is meant."
        )
