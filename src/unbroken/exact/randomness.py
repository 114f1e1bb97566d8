"""Random numbers that are functions of (seed, step, shard, purpose), and the global generators as a state."""

from __future__ import annotations

import hashlib
import random
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

_lost = False


def lose_streams() -> None:
    """Change every stream of this process: the negative control of numbers that no checkpoint holds."""
    global _lost
    _lost = True
    _cached_permutation.cache_clear()


def derive_seed(seed: int, step: int, shard: int, purpose: str) -> int:
    """A 64-bit seed, independent for every distinct combination of the arguments."""
    text = f"unbroken/{'lost/' if _lost else ''}{seed}/{step}/{shard}/{purpose}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")


def torch_generator(
    seed: int, step: int, shard: int, purpose: str, device: torch.device | str = "cpu"
) -> torch.Generator:
    """A torch generator at the start of its stream."""
    return torch.Generator(device=device).manual_seed(derive_seed(seed, step, shard, purpose))


def numpy_generator(seed: int, step: int, shard: int, purpose: str) -> np.random.Generator:
    """A numpy generator at the start of its stream."""
    return np.random.Generator(np.random.PCG64(derive_seed(seed, step, shard, purpose)))


def seed_all(seed: int, step: int = 0, shard: int = 0, purpose: str = "global") -> None:
    """Seed the global generators of Python, numpy and torch (on every device)."""
    value = derive_seed(seed, step, shard, purpose)
    random.seed(value)
    np.random.seed([value & 0xFFFFFFFF, value >> 32])
    torch.manual_seed(value)


def epoch_permutation(seed: int, epoch: int, n: int) -> npt.NDArray[np.int64]:
    """The order of n samples in an epoch (from 0), a function of its arguments. The array is read-only."""
    return _cached_permutation(seed, epoch, n)


@lru_cache(maxsize=4)  # a batch needs one epoch's order, or two where it straddles
def _cached_permutation(seed: int, epoch: int, n: int) -> npt.NDArray[np.int64]:
    # numpy promises the raw stream of a bit generator for all versions, but not Generator.permutation.
    raw = np.random.PCG64(derive_seed(seed, epoch, 0, "permutation")).random_raw(n)
    order = _sort_stably(raw)
    order.flags.writeable = False
    return order


def _sort_stably(keys: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
    """Positions (n,) of the keys (n,) in ascending order, equal keys in the order in which they stand."""
    # Sorting numbers is many times faster than sorting positions by their keys: the position takes the place of the
    # lowest bits of its key. Where the bits above are equal, which is rare, the whole keys decide.
    width = np.uint64(len(keys).bit_length())
    packed = keys >> width << width | np.arange(len(keys), dtype=np.uint64)
    packed.sort()
    order = (packed & (np.uint64(1) << width) - np.uint64(1)).astype(np.int64)
    packed >>= width
    ties = np.flatnonzero(packed[1:] == packed[:-1])
    if len(ties):
        places = np.union1d(ties, ties + 1)
        tied = order[places]
        order[places] = tied[np.lexsort((tied, keys[tied]))]
    return order


def sample_ids(seed: int, step: int, batch: int, n: int) -> npt.NDArray[np.int64]:
    """Indices (batch,) of the global batch of `step` (from 1).

    Samples are taken epoch by epoch, each exactly once per epoch; a batch may straddle two or more epochs.

    Raises:
        ValueError: `n`, `batch` or `step` is less than 1.
    """
    if n < 1 or batch < 1 or step < 1:
        raise ValueError(f"sample_ids needs n, batch and step of at least 1, got {n}, {batch} and {step}")
    positions = np.arange((step - 1) * batch, step * batch, dtype=np.int64)
    epochs, offsets = positions // n, positions % n
    parts = [epoch_permutation(seed, int(epoch), n)[offsets[epochs == epoch]] for epoch in np.unique(epochs)]
    return np.concatenate(parts)


def get_global_state() -> dict[str, Any]:
    """The global generators of Python, numpy, torch and, where it is in use, of the current CUDA device."""
    version, words, gauss = random.getstate()
    state: dict[str, Any] = {
        "python": {"version": version, "words": np.array(array("I", words), dtype=np.uint32), "gauss": gauss},
        "numpy": np.random.get_state(legacy=False),
        "torch": torch.get_rng_state(),
    }
    in_use: Callable[[], bool] = torch.cuda.is_initialized  # asking for the state would start CUDA
    if torch.cuda.is_available() and in_use():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def next_seed() -> int:
    """A seed for the global generators after the coming step, made of their state before it.

    What is drawn in a step depends on the shards that a process owns. With this the state between two steps does not:
    it is a function of the state at the start and the number of steps.
    """
    state = get_global_state()
    python, numpy_state = state["python"], state["numpy"]
    digest = hashlib.sha256(python["words"].tobytes())
    digest.update(repr((python["gauss"], numpy_state["bit_generator"], numpy_state["state"]["pos"])).encode())
    digest.update(numpy_state["state"]["key"].tobytes())
    digest.update(state["torch"].numpy().tobytes())
    return int.from_bytes(digest.digest()[:8], "little")


@contextmanager
def reseeded() -> Iterator[None]:
    """Seed the global generators at the end of the block with a number that follows from their state at its start."""
    seed = next_seed()
    yield
    seed_all(seed)


def set_global_state(state: dict[str, Any]) -> None:
    """Put the global generators back.

    Raises:
        RuntimeError: There is a CUDA state but no CUDA device.
    """
    python = state["python"]
    words = tuple(int(word) for word in python["words"])
    random.setstate((python["version"], words, python["gauss"]))
    np.random.set_state(state["numpy"])
    torch.set_rng_state(state["torch"])
    if "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"])
