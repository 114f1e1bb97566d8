"""Does a receiver read vectors as its library reads ids, and does it read at all? Asked whenever one is loaded.

Shapes: L tokens of a sentence, V vocabulary.
"""

from __future__ import annotations

import logging
import math

import torch
from torch import Tensor
from torch.nn import functional as F

from latentwire.errors import ConfigurationError
from latentwire.models.layout import Prompt
from latentwire.models.receiver import Receiver

log = logging.getLogger(__name__)

ENGLISH = "The capital of France is Paris, and the capital of Italy is Rome."
TOLERANCE = 1e-4
"""Nats by which log-probabilities may differ; both ways are the same operations on the same shapes, in any dtype."""
PREFIX_TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 0.5}
"""Nats likewise, where one way has other shapes, and so rounds otherwise; a wrong position or mask is far more."""


@torch.no_grad()
def check_reading(receiver: Receiver, *, english: bool) -> None:
    """Compare what a receiver says of a sentence's embeddings with what its model says of the sentence's ids.

    A receiver that says something else when it has read the beginning of the prompt before reads it anew from now on.

    Args:
        receiver: The frozen model as it is scored.
        english: Whether it must do better on an English sentence than a guess among all tokens.

    Raises:
        ConfigurationError: The two differ, or its loss per token is that of guessing or worse.
    """
    beginning = [*receiver.layout.bos, *receiver.layout.primer]
    ids = torch.tensor([*beginning, *receiver.tokenise_text(ENGLISH)])
    own = receiver.log_probabilities_of_ids(ids)
    if not _is_same_after(receiver, ids, own, len(beginning)):
        _check_same(receiver.name, _compare(receiver, ids, own, 0))
    if english:
        loss = float(F.nll_loss(own[len(beginning) : -1], ids[len(beginning) + 1 :]))
        _check_loss(receiver.name, loss, math.log(own.shape[1]))


def _is_same_after(receiver: Receiver, ids: Tensor, own: Tensor, beginning: int) -> bool:
    """Whether embeddings read after the beginning give what the ids give [L, V]; where they give far more, it is said
    and not done again.
    """
    if not beginning:
        return False
    why = "its family remembers earlier positions by more than keys and values"
    if receiver.shares_prefix:
        difference = _compare(receiver, ids, own, beginning)
        if difference <= TOLERANCE:
            return True
        receiver.shares_prefix = difference <= PREFIX_TOLERANCE[next(receiver.parameters()).dtype]
        why = f"its log-probabilities differ by {difference:.3g} nats when their keys and values are computed before"
    if not receiver.shares_prefix:
        log.info("Receiver %s reads BOS and primer anew in every prompt, which costs time: %s.", receiver.name, why)
    return False


def _compare(receiver: Receiver, ids: Tensor, own: Tensor, shared: int) -> float:
    """Largest difference in nats of what is said of embeddings, the first of them read before, from that of ids."""
    embeddings = receiver.embed(ids)[None]
    prompt = Prompt(embeddings, torch.ones(embeddings.shape[:2], dtype=torch.bool), shared)
    columns = torch.arange(shared, len(ids))
    read = receiver.log_probabilities(prompt, torch.zeros_like(columns), columns)
    return float((own[shared:] - read).abs().max())


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
