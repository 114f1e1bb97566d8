"""Values that a census compares: tensors, arrays and generators."""

from __future__ import annotations

import hashlib
import random
from typing import Any

import numpy as np
import torch

_DIGITS = 16
_GENERATORS = (torch.Generator, np.random.Generator, np.random.RandomState, np.random.BitGenerator, random.Random)
_KINDS = (torch.Tensor, np.ndarray, *_GENERATORS)
Memory = tuple[str, int, torch.dtype, torch.Size, tuple[int, ...]]


def is_leaf(thing: object) -> bool:
    """Is it a tensor, an array or a generator? By its type: a proxy that claims to be one may do anything."""
    return issubclass(type(thing), _KINDS)


def describe_leaf(leaf: Any) -> str:
    """`Tensor (3, 4)`."""
    kind = type(leaf).__name__
    return f"{kind} {tuple(leaf.shape)}" if issubclass(type(leaf), torch.Tensor | np.ndarray) else kind


def is_generator(leaf: object) -> bool:
    """Does it draw random numbers?"""
    return issubclass(type(leaf), _GENERATORS)


def count_bytes(leaf: Any) -> int:
    """Size of the values; 0 for a generator, and for what has no plain memory, such as a sparse tensor."""
    if is_generator(leaf):
        return 0
    try:
        return int(leaf.nbytes)
    except (RuntimeError, ValueError, NotImplementedError):
        return 0


def locate_tensor(tensor: torch.Tensor) -> Memory | None:
    """Where its values lie; None where no memory of its own can be named."""
    if torch.nn.parameter.is_lazy(tensor) or tensor.layout is not torch.strided or tensor.is_meta or not tensor.numel():
        return None
    try:
        return str(tensor.device), tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride()
    except RuntimeError:  # a wrapper around other tensors
        return None


def digest_leaf(leaf: Any) -> str | None:
    """Digest of the values; None where none can be read: sparse, meta, mapped from a file, drawn by the system."""
    try:
        parts = _read_leaf(leaf)
    except (RuntimeError, TypeError, ValueError, NotImplementedError):
        return None
    if parts is None:
        return None
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()[:_DIGITS]


def _read_leaf(leaf: Any) -> tuple[bytes | memoryview, ...] | None:
    if isinstance(leaf, torch.Tensor):
        return _read_tensor(leaf)
    if isinstance(leaf, np.memmap) or (isinstance(leaf, np.ndarray) and leaf.dtype.hasobject):
        return None
    if isinstance(leaf, np.ndarray):
        return f"{leaf.dtype} {leaf.shape}".encode(), leaf.tobytes()
    if isinstance(leaf, torch.Generator):
        return _read_tensor(leaf.get_state())
    return (_read_generator(leaf).encode(),)


def _read_tensor(tensor: torch.Tensor) -> tuple[bytes | memoryview, ...] | None:
    if torch.nn.parameter.is_lazy(tensor) or tensor.layout is not torch.strided or tensor.is_meta:
        return None
    head = f"{tensor.dtype} {tuple(tensor.shape)}".encode()
    flat = tensor.detach().cpu().resolve_conj().resolve_neg().reshape(-1).contiguous()
    return head, flat.view(torch.uint8).numpy().data if flat.numel() else b""


def _read_generator(leaf: Any) -> str:
    if isinstance(leaf, random.Random):
        return repr(leaf.getstate())
    bits = leaf.bit_generator if isinstance(leaf, np.random.Generator) else leaf
    state = bits.get_state(legacy=False) if isinstance(bits, np.random.RandomState) else bits.state
    with np.printoptions(threshold=2**20):
        return repr(state)
