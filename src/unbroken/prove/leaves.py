"""Values that a census compares: tensors, arrays, buffers and generators."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from unbroken.prove.buffers import is_buffer, open_buffer

_DIGITS = 16
_GENERATORS = (torch.Generator, np.random.Generator, np.random.RandomState, np.random.BitGenerator, random.Random)
_ARRAYS = (torch.Tensor, np.ndarray)
Memory = tuple[str, int, torch.dtype, torch.Size, tuple[int, ...]]
Parts = Iterator[bytes | memoryview]


def is_leaf(thing: object) -> bool:
    """Is it a tensor, an array, a buffer or a generator? By its type: a proxy that claims to be one may do anything."""
    return issubclass(type(thing), (*_ARRAYS, *_GENERATORS)) or is_buffer(thing)


def describe_leaf(leaf: Any) -> str:
    """`Tensor (3, 4)`."""
    kind = type(leaf).__name__
    try:
        return f"{kind} {tuple(leaf.shape)}" if issubclass(type(leaf), _ARRAYS) else kind
    except RuntimeError:  # nested, or not made yet
        return kind


def is_generator(leaf: object) -> bool:
    """Does it draw random numbers?"""
    return issubclass(type(leaf), _GENERATORS)


def count_bytes(leaf: Any) -> int:
    """Size of the values; 0 for a generator, and for what has no plain memory, such as a sparse tensor."""
    if is_generator(leaf):
        return 0
    try:
        return int(leaf.nbytes) if issubclass(type(leaf), _ARRAYS) else _count_buffer(leaf)
    except (RuntimeError, ValueError, NotImplementedError):
        return 0


def _count_buffer(leaf: Any) -> int:
    with open_buffer(leaf) as view:
        return view.nbytes


def locate_tensor(tensor: torch.Tensor) -> Memory | None:
    """Where its values lie; None where no memory of its own can be named."""
    if torch.nn.parameter.is_lazy(tensor) or tensor.layout is not torch.strided or tensor.is_meta or not tensor.numel():
        return None
    try:
        return str(tensor.device), tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride()
    except RuntimeError:  # a wrapper around other tensors
        return None


def digest_leaf(leaf: Any) -> str | None:
    """Digest of the values; None where there are none or all are fixed: meta, a read-only file, the system's dice."""
    digest, count = hashlib.sha256(), 0
    try:
        for part in _read_leaf(leaf):
            digest.update(part)
            count += 1
    except (RuntimeError, TypeError, ValueError, NotImplementedError):
        return None
    return digest.hexdigest()[:_DIGITS] if count else None


def _read_leaf(leaf: Any) -> Parts:
    if isinstance(leaf, torch.Tensor):
        yield from _read_tensor(leaf)
    elif isinstance(leaf, np.ndarray):
        yield from _read_array(leaf)
    elif isinstance(leaf, torch.Generator):
        yield from _read_tensor(leaf.get_state())
    elif is_generator(leaf):
        yield _read_generator(leaf).encode()
    else:
        yield from _read_buffer(leaf)


def _read_tensor(tensor: torch.Tensor) -> Parts:
    if torch.nn.parameter.is_lazy(tensor) or tensor.is_meta:
        return
    inner = _list_inner(tensor.detach())
    yield f"{tensor.dtype} {describe_leaf(tensor)}".encode()
    for each in inner:
        yield from _read_tensor(each)
    if not inner:
        flat = tensor.detach().cpu().resolve_conj().resolve_neg().contiguous().as_strided((tensor.numel(),), (1,))
        yield flat.view(torch.uint8).numpy().data


_INNER = {
    torch.sparse_coo: ("_indices", "_values"),
    torch.sparse_csr: ("crow_indices", "col_indices", "values"),
    torch.sparse_bsr: ("crow_indices", "col_indices", "values"),
    torch.sparse_csc: ("ccol_indices", "row_indices", "values"),
    torch.sparse_bsc: ("ccol_indices", "row_indices", "values"),
}


def _list_inner(tensor: torch.Tensor) -> list[torch.Tensor]:
    """The tensors of which one without plain memory consists."""
    if tensor.is_nested:
        return list(tensor.unbind())
    if tensor.is_quantized:
        return [tensor.int_repr(), tensor.dequantize()]
    return [getattr(tensor, name)() for name in _INNER.get(tensor.layout, ())]


def _read_array(array: np.ndarray[Any, Any]) -> Parts:
    is_fixed = isinstance(array, np.memmap) and not array.flags.writeable
    if is_fixed or array.dtype.hasobject:
        return
    yield f"{array.dtype} {array.shape}".encode()
    plain = np.ascontiguousarray(array.view(np.ndarray)).reshape(-1)
    yield plain.view(np.uint8).data if plain.nbytes else b""


def _read_buffer(leaf: Any) -> Parts:
    with open_buffer(leaf) as view:
        yield f"{view.format} {view.shape}".encode()
        if view.c_contiguous and view.nbytes:
            with view.cast("B") as flat:  # released here, since one that is held keeps the buffer from growing
                yield flat
        else:
            yield view.tobytes()


def _read_generator(leaf: Any) -> str:
    if isinstance(leaf, random.Random):
        return repr(leaf.getstate())
    bits = leaf.bit_generator if isinstance(leaf, np.random.Generator) else leaf
    state = bits.get_state(legacy=False) if isinstance(bits, np.random.RandomState) else bits.state
    with np.printoptions(threshold=2**20):
        return repr(state)
