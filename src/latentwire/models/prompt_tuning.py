"""Prompt tuning (Lester et al. 2021): trained vectors before the text that a frozen receiver reads.

Shapes: P trained vectors, T tokens of a text, D_r width of a receiver's embeddings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from latentwire.models.methods import TextMethod

if TYPE_CHECKING:
    from latentwire.models.receiver import Receiver


class PromptTuning(TextMethod):
    """For each receiver P vectors of its own, which stand between primer and text."""

    def __init__(self, prompts: Mapping[str, Tensor], max_tokens: int) -> None:
        """Start from vectors [P, D_r] by receiver; `max_tokens` of a text are read."""
        super().__init__(max_tokens)
        self.prompts = nn.ParameterDict({name: nn.Parameter(vectors) for name, vectors in prompts.items()})

    def read(self, message: Sequence[str], receiver: Receiver) -> list[Tensor]:
        """Texts → [P + T, D_r] of each."""
        own = self.prompts[receiver.name]
        return [torch.cat([own, row.to(own.dtype)]) for row in receiver.embed_texts(message, self.max_tokens)]


@torch.no_grad()
def draw_prompt(receiver: Receiver, length: int) -> Tensor:
    """Embeddings [P, D_r] float32 of tokens that are drawn from the vocabulary, with the scale that the model reads."""
    return receiver.embed(torch.randint(receiver.vocabulary, (length,))).float().clone()
