"""What a receiver answers when it does not get the example's own wire: what is right then is a leak or luck.

Shapes: N examples, C labels, M slots, d wire width.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from unbroken.exact.randomness import derive_seed

SHUFFLED, NOISE = "shuffled", "noise"


def shuffle_rows(rows: Tensor) -> Tensor:
    """Every example gets the row of the next one, the last that of the first.

    The scores [N, C] of a wire are a function of that wire alone, so that shuffled scores are those of shuffled wires
    and no receiver has to be asked again.
    """
    return rows.roll(-1, dims=0)


def draw_noise(wires: Tensor, seed: int) -> Tensor:
    """Wires [N, M, d] that know nothing: uniform noise, every slot at the root mean square of that slot in `wires`.

    The scale is one number per slot over all examples, since an example's own would be a fact about it.
    """
    # numpy promises the raw stream for all versions, and no kernel of a vendor takes part in the noise.
    raw = np.random.PCG64(derive_seed(seed, 0, 0, "control/noise")).random_raw(wires.numel()).reshape(wires.shape)
    noise = (raw >> np.uint64(11)) * 2.0**-53 - 0.5
    scale = _rms(wires.cpu().double().numpy(), axis=(0, 2))
    return torch.from_numpy(noise * (scale / _rms(noise, axis=2))).to(wires.dtype).to(wires.device)


def _rms(values: np.ndarray, axis: int | tuple[int, ...]) -> np.ndarray:
    return np.asarray(np.sqrt(np.square(values).mean(axis=axis, keepdims=True)))
