"""Which tensors and arrays lie in the memory of others, whatever holds them, and how they are laid there again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from operator import itemgetter
from typing import Any, NamedTuple, cast

import numpy as np
import torch

Alias = list[Any]
"""Name of what it lies in, offset from its first element and strides, in elements of its own."""


class Region(NamedTuple):
    """Memory that has a name."""

    name: str
    value: Any
    """A tensor or an array."""
    order: int
    """Of several that begin and end alike, the others lie in the one with the lowest."""
    can_move: bool = True
    """Whether it can be laid into other memory."""


_OVERLAP_WORK = 100_000
"""So many candidates are tried to find out whether two values have bytes in common; beyond that they have."""

_Span = tuple[int, int, int, str, Region]
"""First byte, minus the number of bytes up to the last one, order, name, region."""


def find_crowded(values: Mapping[str, Any]) -> list[str]:
    """The names of all whose memory others have too, of tensors and arrays by name: usually none."""
    spans = sorted([(*span, name) for name, value in values.items() if (span := _measure(value))])
    crowded: list[str] = []
    end, last = 0, ""
    for begin, minus_extent, name in spans:
        if begin < end:
            crowded += [last, name]
        if begin - minus_extent > end:
            end, last = begin - minus_extent, name
    return list(dict.fromkeys(crowded))


def find_aliases(regions: Iterable[Region]) -> tuple[dict[str, Alias], dict[str, str]]:
    """Of each region that lies in another one, what `lay_out_alias` needs; and of those that it cannot lay out again,
    since they have bytes of others and no region holds all of these, the name of such another one.
    """
    spans: dict[Any, list[_Span]] = {}
    for region in regions:
        if span := _measure(region.value):
            spans.setdefault(_device_of(region.value), []).append((*span, region.order, region.name, region))
    aliases: dict[str, Alias] = {}
    tangled: dict[str, str] = {}
    for alike in spans.values():
        _find_overlaps(alike, aliases, tangled)
    return aliases, tangled


def _device_of(value: Any) -> Any:
    return value.device if isinstance(value, torch.Tensor) and not value.is_cpu else "cpu"


def _measure(value: Any) -> tuple[int, int] | None:
    if isinstance(value, torch.Tensor):
        begin = value.data_ptr()
        extent = value.nbytes if value.is_contiguous() else _extent(value.shape, value.stride(), value.itemsize)
    elif min(value.strides, default=0) >= 0:
        begin = value.__array_interface__["data"][0]
        extent = _extent(value.shape, [stride // value.itemsize for stride in value.strides], value.itemsize)
    else:
        return None  # a copy has no negative strides
    return (begin, -extent) if extent > 0 else None


def _extent(shape: Any, strides: Any, itemsize: int) -> int:
    if 0 in shape:
        return 0
    last = sum(stride * (size - 1) for stride, size in zip(strides, shape, strict=True))
    return int(last + 1) * itemsize


def _find_overlaps(spans: list[_Span], aliases: dict[str, Alias], tangled: dict[str, str]) -> None:
    base, start, end, dense_end = "", 0, 0, 0
    before: list[Region] = []
    for begin, minus_extent, _, name, region in sorted(spans, key=itemgetter(0, 1, 2, 3)):
        size, last = region.value.itemsize, begin - minus_extent
        if begin >= end:
            base, start, before = name, begin, []
            dense_end = last if -minus_extent == region.value.nbytes else 0  # else a copy of it is smaller
        elif region.can_move and last <= dense_end and (begin - start) % size == 0:
            aliases[name] = [base, (begin - start) // size, _strides_of(region.value)]
        elif region.can_move and (other := _find_sharer(region, before)):
            tangled[name] = other
        before.append(region)
        end = max(end, last)


def _find_sharer(region: Region, others: Iterable[Region]) -> str | None:
    mine = _show_bytes(region.value)
    return next((other.name for other in others if _share_bytes(mine, _show_bytes(other.value))), None)


def _share_bytes(first: np.ndarray[Any, Any], second: np.ndarray[Any, Any]) -> bool:
    """Whether they have bytes in common, not just places between each other's, as columns of a table have."""
    try:
        return np.shares_memory(first, second, max_work=_OVERLAP_WORK)  # type: ignore[arg-type]  # any number, it says
    except np.exceptions.TooHardError:
        return True


class _Memory:
    def __init__(self, tensor: torch.Tensor) -> None:
        size = tensor.itemsize
        self.__array_interface__ = {
            "shape": tuple(tensor.shape),
            "strides": tuple(stride * size for stride in tensor.stride()),
            "typestr": f"|V{size}",
            "data": (tensor.data_ptr(), True),
            "version": 3,
        }


def _show_bytes(value: Any) -> np.ndarray[Any, Any]:
    """An array where a tensor lies, of any dtype and device: nobody reads it."""
    return value if isinstance(value, np.ndarray) else np.asarray(_Memory(value))


def _strides_of(value: Any) -> list[int]:
    if isinstance(value, torch.Tensor):
        return list(value.stride())
    return [stride // value.itemsize for stride in value.strides]


def lay_out_alias(value: Any, base: Any, offset: int, strides: list[int]) -> Any:
    """A tensor or an array like `value`, whose elements are those of `base` at that place."""
    if isinstance(value, np.ndarray):
        size = value.itemsize
        return np.ndarray(
            value.shape, value.dtype, _bytes_of(base).numpy(), offset * size, [stride * size for stride in strides]
        )
    memory = _bytes_of(base)
    first = memory.storage_offset() // value.itemsize + offset
    return _new_tensor(value.dtype, memory, first, value.shape, strides)


def _bytes_of(base: Any) -> torch.Tensor:
    """All bytes from the first element of a dense tensor or array to its last, without a copy."""
    if isinstance(base, np.ndarray):
        whole = np.lib.stride_tricks.as_strided(base, (1,), (base.itemsize,)).view(np.uint8)
        return torch.from_numpy(np.lib.stride_tricks.as_strided(whole, (base.nbytes,), (1,)))
    return _new_tensor(torch.uint8, base.detach(), base.storage_offset() * base.itemsize, (base.nbytes,), (1,))


def _new_tensor(dtype: torch.dtype, memory: torch.Tensor, first: int, shape: Any, strides: Any) -> torch.Tensor:
    made: Any = torch.empty(0, dtype=dtype, device=memory.device)
    return cast(torch.Tensor, made.set_(memory.untyped_storage(), first, shape, strides))


def replace_members(value: Any, new: Mapping[int, Any]) -> Any:
    """Put values into the place of those with these ids, wherever they stand in a dict of the state.

    Containers stay the same objects, but for tuples, which cannot be changed.
    """
    return _Replacement(new).replace(value)


class _Replacement:
    def __init__(self, new: Mapping[int, Any]) -> None:
        self._new, self._visited = dict(new), set[int]()

    def replace(self, value: Any) -> Any:
        if id(value) in self._new:
            return self._new[id(value)]
        if isinstance(value, tuple):
            items = tuple(map(self.replace, value))
            return value if all(map(_is_same, items, value)) else items
        if id(value) not in self._visited:
            self._visited.add(id(value))
            self._replace_inside(value)
        return value

    def _replace_inside(self, value: Any) -> None:
        places = list(value.items()) if isinstance(value, dict) else []
        if isinstance(value, list) or hasattr(value, "maxlen"):
            places = list(enumerate(value))
        for key, inner in places:
            if (made := self.replace(inner)) is not inner:
                value[key] = made


def _is_same(first: object, second: object) -> bool:
    return first is second
