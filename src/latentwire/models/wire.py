"""The trained part: a resampler writes the wire, one adapter per receiver reads it.

Shapes: B batch, T text tokens, M slots, d wire width, D_s / D_r hidden widths of sender and receiver.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from latentwire.models.methods import Inputs, TrainedMethod
from latentwire.models.slot_diversity import effective_ranks, slot_cosines

if TYPE_CHECKING:
    from latentwire.models.receiver import Receiver


def rms_normalise(x: Tensor, eps: float = 1e-6) -> Tensor:
    """Scale the last dimension to root mean square 1 (Zhang & Sennrich 2019, without gain)."""
    return x * torch.rsqrt(x.square().mean(dim=-1, keepdim=True) + eps)


class Attention(nn.Module):
    """Multi-head attention with a key-padding mask."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)

    def forward(self, queries: Tensor, keys: Tensor, mask: Tensor | None = None) -> Tensor:
        """[B, M, d], [B, T, d], mask [B, T] bool (False at padding) → [B, M, d]."""
        key, value = self.key_value(keys).chunk(2, dim=-1)
        q, k, v = (self._split(x) for x in (self.query(queries), key, value))
        attended = F.scaled_dot_product_attention(q, k, v, None if mask is None else mask[:, None, None, :])
        return self.out(attended.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]

    def _split(self, x: Tensor) -> Tensor:
        split: Tensor = x.unflatten(-1, (self.heads, -1))
        return split.transpose(1, 2)


class Block(nn.Module):
    """Pre-LN cross-attention, self-attention and GELU feed-forward (Jaegle et al. 2021; Alayrac et al. 2022)."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.norms = nn.ModuleList([nn.LayerNorm(width) for _ in range(3)])
        self.cross = Attention(width, heads)
        self.own = Attention(width, heads)
        self.feed = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.dropout = nn.Dropout(dropout)

    def forward(self, slots: Tensor, states: Tensor, mask: Tensor) -> Tensor:
        """Slots [B, M, d], states [B, T, d], mask [B, T] → slots [B, M, d]."""
        slots = slots + self.dropout(self.cross(self.norms[0](slots), states, mask))
        normed = self.norms[1](slots)
        slots = slots + self.dropout(self.own(normed, normed))
        return slots + self.dropout(self.feed(self.norms[2](slots)))  # type: ignore[no-any-return]


class Resampler(nn.Module):
    """Sender states of any length → a wire of M latent vectors."""

    def __init__(
        self, sender_width: int, slots: int, width: int, depth: int, heads: int, dropout: float, query_std: float = 1.0
    ) -> None:
        """Make the initial weights; `query_std` is the standard deviation of the learned queries, one per slot.

        What cross-attention adds is about the same for all slots, at a root mean square of 0.2. Queries far below that,
        such as the usual 0.02, drown in it: all slots are one vector at the start (cosine 0.997), and stay it.
        """
        super().__init__()
        self.project = nn.Sequential(nn.Linear(sender_width, width), nn.LayerNorm(width))
        self.queries = nn.Parameter(torch.randn(slots, width) * query_std)
        self.blocks = nn.ModuleList([Block(width, heads, dropout) for _ in range(depth)])

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        """States [B, T, D_s], mask [B, T] bool → wire [B, M, d], root mean square 1 per slot."""
        projected = self.project(states)
        slots = self.queries.expand(len(states), -1, -1)
        for block in self.blocks:
            slots = block(slots, projected, mask)
        return rms_normalise(slots)


class Adapter(nn.Module):
    """Wire → a receiver's input embeddings, at the scale of its own embedding table."""

    def __init__(self, width: int, hidden: int, receiver_width: int, embedding_rms: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, receiver_width))
        self.skip = nn.Linear(width, receiver_width)
        # A learned scale that starts at the table's own: tanh saturated and a free scale diverged.
        self.scale = nn.Parameter(torch.tensor(embedding_rms))

    def forward(self, wire: Tensor) -> Tensor:
        """[B, M, d] → [B, M, D_r]."""
        normed = self.norm(wire)
        return rms_normalise(self.mlp(normed) + self.skip(normed)) * self.scale


class Wire(TrainedMethod[Tensor]):
    """One resampler, and one adapter for each receiver of the same wire."""

    reads_in_one_shape: ClassVar[bool] = True

    def __init__(self, resampler: Resampler, adapters: Mapping[str, Adapter]) -> None:
        super().__init__()
        self.resampler = resampler
        self.adapters = nn.ModuleDict(adapters)

    def write(self, inputs: Inputs) -> Tensor:
        """Sender states [B, T, D_s] and mask [B, T] → wire [B, M, d]: all that a receiver gets."""
        wire: Tensor = self.resampler(inputs.states, inputs.mask)
        return wire

    def read(self, message: Tensor, receiver: Receiver) -> list[Tensor]:
        """Wire [B, M, d] → input embeddings [M, D_r] of one receiver for each example."""
        return list(self.adapters[receiver.name](message.float()))

    def pack(self, messages: Sequence[Tensor]) -> Tensor:
        """Wires [N, M, d] in float16, as they are sent."""
        return torch.cat([message.half() for message in messages])

    def select(self, message: Tensor, rows: Sequence[int]) -> Tensor:
        """The wires at some positions."""
        return message[list(rows)]

    def count_bytes(self, message: Tensor, _receivers: Sequence[Receiver], /) -> list[int]:
        """Of the numbers of each wire; all receivers read the same one."""
        return [int(wire.nbytes) for wire in message]

    def vectors(self, message: Tensor, /) -> Tensor:
        """The wires."""
        return message

    @property
    def measures(self) -> Mapping[str, Callable[[Tensor], list[float]]]:
        """The diversity of the slots; a single slot has no other to be compared with."""
        ranks = {"effective_rank": effective_ranks}
        several = len(self.resampler.queries) > 1
        return {"slot_cosine": slot_cosines, **ranks} if several else ranks

    def similarity(self, message: Tensor, /) -> Tensor:
        """Of the flattened wires; see `wire_similarity`."""
        return wire_similarity(message)


def wire_similarity(written: Tensor) -> Tensor:
    """Mean off-diagonal cosine of the flattened wires [B, M, d] of a batch: 1 when all wires are the same."""
    flat = F.normalize(written.flatten(1), dim=1)
    cosines = flat @ flat.T
    return (cosines.sum() - cosines.trace()) / (len(flat) * (len(flat) - 1))
