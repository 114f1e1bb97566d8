"""Low-rank adaptation (Hu et al. 2022): trained updates of linear layers inside a receiver, which reads the text.

Shapes: K inputs and M outputs of a layer, r rank.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from copy import copy
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from latentwire.models.methods import TextMethod

if TYPE_CHECKING:
    from latentwire.models.receiver import Receiver


class LowRank(nn.Module):
    """What is added to a layer's output: (alpha / r) · x Aᵀ Bᵀ, in float32; 0 at the start, since B is."""

    def __init__(self, inputs: int, outputs: int, rank: int, alpha: float) -> None:
        super().__init__()
        self.scale = alpha / rank
        self.down = nn.Parameter(torch.randn(rank, inputs) / math.sqrt(inputs))
        self.up = nn.Parameter(torch.zeros(outputs, rank))

    def forward(self, x: Tensor) -> Tensor:
        """[..., K] → [..., M]."""
        return F.linear(F.linear(x.float(), self.down), self.up) * self.scale

    def hook(self, _layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        """The output [..., M] of the layer with the update."""
        updated: Tensor = output + self(inputs[0]).to(output.dtype)
        return updated


class Lora(TextMethod):
    """For each receiver an update of every layer that bears one of the names."""

    def __init__(
        self, readers: Sequence[Receiver], targets: Sequence[str], rank: int, alpha: float, max_tokens: int
    ) -> None:
        super().__init__(max_tokens)
        self._targets = tuple(targets)
        self.updates = nn.ModuleDict({reader.name: self._make_updates(reader, rank, alpha) for reader in readers})

    def _make_updates(self, reader: Receiver, rank: int, alpha: float) -> nn.ModuleDict:
        layers = reader.linear_layers(self._targets)
        return nn.ModuleDict(
            {_key(name): LowRank(layer.in_features, layer.out_features, rank, alpha) for name, layer in layers.items()}
        )

    def adapt(self, receiver: Receiver) -> Receiver:
        """The receiver with the updates in its layers, which its model has from now on."""
        updates: Any = self.updates[receiver.name]
        for name, layer in receiver.linear_layers(self._targets).items():
            layer.register_forward_hook(updates[_key(name)].hook)
        adapted = copy(receiver)
        # Keys and values of the beginning change with every step.
        adapted.shares_prefix = False
        return adapted


def _key(name: str) -> str:
    """A module's name without the dots that a name inside another module may not have."""
    return name.replace(".", "-")
