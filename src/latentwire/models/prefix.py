"""What a frozen model has read of the beginning that all prompts of a task share: its keys and values, computed once.

Nothing is learned at those positions and none of them sees what comes after, so that no batch and no gradient can
change them (Pope et al. 2022, "Efficiently scaling transformer inference": the key-value cache).

Shapes: P positions of the beginning, H heads of keys and values, K their width, D width of embeddings, B batch.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer


@dataclass(frozen=True)
class Prefix:
    """Keys and values of every layer."""

    layers: tuple[tuple[Tensor, Tensor], ...]
    """[1, H, P, K] each."""

    def expand(self, size: int) -> DynamicCache:
        """A cache for a batch of this size, which has read the beginning and grows with what it reads next."""
        return DynamicCache([(k.expand(size, -1, -1, -1), v.expand(size, -1, -1, -1)) for k, v in self.layers])


def keeps_keys_and_values(model: PreTrainedModel) -> bool:
    """Whether all that a model remembers of earlier positions is keys and values, as attention does.

    A recurrent state, as Mamba has one, is another thing in each family.
    """
    kinds = {type(layer) for layer in DynamicCache(config=model.config).layers}
    return kinds <= {DynamicLayer, DynamicSlidingWindowLayer}


@torch.no_grad()
def read_prefix(model: PreTrainedModel, embeddings: Tensor) -> Prefix:
    """Let a model read the beginning [P, D]; layers with a sliding window keep all of it, and mask what they pass."""
    cache = DynamicCache()
    model.get_decoder()(inputs_embeds=embeddings[None], past_key_values=cache, use_cache=True)
    return Prefix(tuple((keys, values) for keys, values, *_ in cache))
