"""Objects that show their memory, as `array.array`, `bytearray`, `mmap`, ctypes arrays and storages do."""

from __future__ import annotations

import ctypes
import io
from types import FunctionType
from typing import Any

import numpy as np
import torch

_SHORTEST_BYTES = 1024
"""Longer ones are no text but data, such as a model that was saved into memory."""
_VALUES = (bytes, str, int, float, complex, type(None), type, np.generic, np.ndarray, torch.Tensor)
"""Single values, which nobody can change, and what is read as an array."""
_ADDRESSES = (ctypes._Pointer, *ctypes.CFUNCTYPE(None).__mro__[1:2], ctypes.c_void_p, ctypes.c_char_p, ctypes.c_wchar_p)
"""Other ones in every process."""
_UNUSUAL = (io.BytesIO, torch.UntypedStorage)
"""Have memory, and show it in ways of their own."""
_known: dict[type, bool] = {}


def is_buffer(thing: Any) -> bool:
    """Does it show its memory? No code of the program runs."""
    kind = type(thing)
    if kind is bytes:
        return len(thing) >= _SHORTEST_BYTES
    if kind not in _known:
        _known[kind] = not issubclass(kind, (*_VALUES, *_ADDRESSES)) and (
            issubclass(kind, _UNUSUAL) or _shows_memory(thing)
        )
    return _known[kind]


def _shows_memory(thing: Any) -> bool:
    if any(isinstance(vars(base).get("__buffer__"), FunctionType) for base in type(thing).__mro__):
        return False  # written in Python, from 3.12 on
    try:
        memoryview(thing).release()
    except TypeError:
        return False
    except (BufferError, ValueError):  # closed
        return True
    return True


def open_buffer(thing: Any) -> memoryview:
    """Its memory, to be released soon: some cannot grow until then.

    Raises:
        ValueError: It is closed.
    """
    if issubclass(type(thing), io.BytesIO):
        return io.BytesIO.getbuffer(thing)
    if issubclass(type(thing), torch.UntypedStorage):
        return memoryview(torch.empty(0, dtype=torch.uint8, device="cpu").set_(thing.cpu()).numpy().data)
    return memoryview(thing)
