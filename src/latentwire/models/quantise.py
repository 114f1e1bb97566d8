"""Wires of fewer bits than the float16 in which they are sent: symmetric, with a scale for each group of numbers.

What is quantised is the wire as it is sent, after training, so that nothing is trained for it. Quotients and products
of float16 numbers are taken in float64 and float32, which every processor rounds to the same bits, and there is no sum
whose order could differ.

Shapes: N examples, M slots, d wire width, G groups of a wire, the last of which may be shorter.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from latentwire.errors import ConfigurationError

BITS = {"int8": 8, "int4": 4}
"""Bits of a number, by precision."""
GROUP = 32
"""Consecutive numbers of the flattened wire that share a scale."""
SCALE_BYTES = 2
"""A scale is a float16."""


@dataclass(frozen=True)
class QuantisedWires:
    """What is sent in the place of float16 wires."""

    codes: NDArray[np.int8]
    """[N, G, GROUP] whole numbers of the precision's bits; beyond the end of a wire they are 0 and are not sent."""
    scales: NDArray[np.float16]
    """[N, G], what a code of 1 stands for."""


def quantised_bytes(numbers: int, precision: str) -> int:
    """Bytes of a quantised wire of M · d numbers: their codes, and a scale for each group."""
    return -(-numbers * BITS[precision] // 8) + -(-numbers // GROUP) * SCALE_BYTES


def round_wires(wires: Tensor, precision: str) -> Tensor:
    """Wires [N, M, d] float32 as a receiver gets them that is sent the codes of float16 wires [N, M, d].

    Raises:
        ConfigurationError: A number is not finite.
    """
    return dequantise_wires(quantise_wires(wires, precision), wires)


def quantise_wires(wires: Tensor, precision: str) -> QuantisedWires:
    """The codes and scales of wires [N, M, d] float16; no number is further than half a scale from what it becomes.

    Raises:
        ConfigurationError: A number is not finite.
    """
    grouped = _group(wires.cpu().flatten(1).half().double().numpy())
    if not np.isfinite(grouped).all():
        raise ConfigurationError(
            f"{np.count_nonzero(~np.isfinite(grouped))} numbers of wires are infinite or none (NaN); expected finite "
            f"ones, which {precision} can stand for. Next: train with a lower train.lr in params.yaml, or take "
            "evaluate.precisions out of it."
        )
    largest = 2 ** (BITS[precision] - 1) - 1
    scales = _round_up(np.abs(grouped).max(axis=2), largest)
    # A group of zeros has the scale 0, and codes of 0.
    divisors = np.where(scales > 0, scales, 1).astype(np.float64)
    return QuantisedWires(np.rint(grouped / divisors[:, :, None]).astype(np.int8), scales)


def dequantise_wires(quantised: QuantisedWires, like: Tensor) -> Tensor:
    """Wires [N, M, d] float32 of codes and scales, with shape and device of others; each number is exact."""
    numbers = quantised.codes.astype(np.float32) * quantised.scales.astype(np.float32)[:, :, None]
    flat = numbers.reshape(len(like), -1)[:, : like[0].numel()]
    return torch.from_numpy(flat).reshape(like.shape).to(like.device)


def _group(flat: NDArray[np.float64]) -> NDArray[np.float64]:
    """[N, M · d] → [N, G, GROUP], with zeros where the last group is shorter."""
    missing = -flat.shape[1] % GROUP
    return np.pad(flat, ((0, 0), (0, missing))).reshape(len(flat), -1, GROUP)


def _round_up(strengths: NDArray[np.float64], largest: int) -> NDArray[np.float16]:
    """The smallest float16 scales at which no number lies beyond the largest code, so that none has to be cut off."""
    nearest = (strengths / largest).astype(np.float16)
    short = nearest.astype(np.float64) * largest < strengths
    return np.where(short, np.nextafter(nearest, np.float16(np.inf)), nearest)
