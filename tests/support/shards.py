"""What is summed over virtual shards in tests, and the bytes of a sum."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

SHAPES = [(), (7,), (3, 5), (1,), (2, 1, 4)]  # 31 numbers: no number of processes but 31 divides them


def leaves(count: int) -> list[Tensor]:
    dice = torch.Generator().manual_seed(count)
    return [torch.randn(50, generator=dice) * 10**5 + torch.randn(50, generator=dice) for _ in range(count)]


def mixed_leaf(shard: int) -> list[Tensor]:
    """Shapes and types in no order, values for which the order of the sum matters."""
    dice = torch.Generator().manual_seed(shard)
    wide = [torch.randn(shape, generator=dice) * 10.0 ** (shard % 5) for shape in SHAPES]
    types = [torch.float32, torch.float64, torch.float32, torch.bfloat16, torch.float16]
    return [*(tensor.to(dtype) for tensor, dtype in zip(wide, types, strict=True)), torch.tensor(shard)]


def data(tensors: Sequence[Tensor]) -> list[tuple[object, ...]]:
    """Bytes, shapes and types."""
    plain = [tensor.detach().clone().reshape(-1).view(torch.uint8).numpy().tobytes() for tensor in tensors]
    return [(raw, tensor.shape, tensor.dtype) for raw, tensor in zip(plain, tensors, strict=True)]
