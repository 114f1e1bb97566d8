"""How much the slots of a wire differ: M vectors that point one way carry what one of them carries.

Computed by numpy and the standard library in float64, whose bits are the same on processors of any vendor, as those of
torch's roots, logarithms and decompositions are not.

Shapes: N examples, M slots, d wire width.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

Floats = NDArray[np.float64]


def slot_cosines(wires: Tensor) -> list[float]:
    """Per wire [M, d] of [N, M, d] the mean cosine between two different slots; 1 when all point one way.

    Raises:
        ValueError: A wire has one slot, which has no other.
    """
    count = wires.shape[1]
    if count < 2:
        raise ValueError("a cosine between slots needs two of them, found wires of one slot")
    return [(float(gram.sum()) - count) / (count * (count - 1)) for gram in _gram_matrices(wires)]


def effective_ranks(wires: Tensor) -> list[float]:
    """Per wire the effective rank (Roy & Vetterli 2007): exp of the entropy of its normalised singular values.

    It lies between 1, when all slots point one way, and min(M, d), when they are orthogonal.
    """
    return [_effective_rank([math.sqrt(max(0.0, x)) for x in np.linalg.eigvalsh(g)]) for g in _gram_matrices(wires)]


def _gram_matrices(wires: Tensor) -> list[Floats]:
    """Cosines [M, M] between the slots of each wire: its eigenvalues are the squares of the singular values."""
    rows: Floats = wires.detach().cpu().double().numpy()
    unit = rows / np.sqrt((rows * rows).sum(axis=-1, keepdims=True))
    return [slots @ slots.T for slots in unit]


def _effective_rank(singular: Sequence[float]) -> float:
    total = math.fsum(singular)
    shares = [value / total for value in singular if value > 0]
    return math.exp(-math.fsum(share * math.log(share) for share in shares))
