"""Which operations of torch a computation calls, on what, so that each can be called again without its models."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode

Argument = Any
"""As JSON: a number, a text, null, a list of them, or one of the tagged objects of `describe_argument`."""

BITLESS = (
    *("empty", "new_empty", "empty_like", "empty_strided", "new_empty_strided", "_local_scalar_dense", "lift_fresh"),
    *("detach", "alias", "_unsafe_view", "slice_backward"),
)
"""They compute nothing; `OpOverload.is_view` tells the other ones."""

APPROXIMATED = (
    *((f'"aten.{name}.', "") for name in ("sqrt", "sqrt_", "log10", "log10_", "asin", "acos", "atan")),
    *((f'"aten.{name}.', "float64") for name in ("log", "log_")),
    *((f'"aten.{name}.', ", 0.5]") for name in ("pow", "pow_")),
)
"""Name and type of the operations that ATen gives to MKL's vector functions and MKL computes from `rsqrtps` and the
like, whose bits every vendor chooses, whatever MKL_CBWR says. Found by comparing them natively and emulated."""


class Recorder(TorchDispatchMode):
    """While it is entered, every different call is kept, forwards and backwards."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: dict[str, int] = {}
        """Call as text (see `describe_call`) → how often."""

    def __torch_dispatch__(
        self, func: OpOverload, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Note the call and make it."""
        if computes_bits(func, args, kwargs or {}):
            text = describe_call(func, args, kwargs or {})
            self.calls[text] = self.calls.get(text, 0) + 1
        return func(*args, **kwargs or {})


def computes_bits(func: OpOverload, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    """Whether a call makes numbers that exist: no view, no mark of the profiler, nothing on the device `meta`."""
    if func.is_view or func.namespace == "profiler" or func.overloadpacket.__name__ in BITLESS:
        return False
    given = [*args, *kwargs.values()]
    return not any(getattr(value, "device", value) == torch.device("meta") for value in given)


def describe_call(func: OpOverload, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
    """The operation and all that it is given, as one line of JSON."""
    named = {name: describe_argument(value) for name, value in sorted(kwargs.items())}
    return json.dumps([str(func), [describe_argument(value) for value in args], named])


def describe_argument(value: Any) -> Argument:
    """A tensor by dtype, shape and strides; anything else by its value."""
    if isinstance(value, Tensor):
        return {"tensor": _describe_tensor(value)}
    if isinstance(value, torch.dtype | torch.layout | torch.device | torch.memory_format):
        return {"torch": str(value).removeprefix("torch.")}
    if isinstance(value, list | tuple):
        return [describe_argument(inner) for inner in value]
    if isinstance(value, float) and value in (float("inf"), float("-inf")):
        return {"float": str(value)}
    if isinstance(value, torch.Generator):
        return {"generator": "default"}
    return value


def _describe_tensor(tensor: Tensor) -> list[Any]:
    return [str(tensor.dtype).removeprefix("torch."), list(tensor.shape), list(tensor.stride())]


WIDTHS = (32, 64, 128, 192, 256, 320, 384, 576, 640, 768, 1024, 1536, 2048)
"""Of the real models and the wire: what a product sums over, and what decides how it is cut into blocks."""
CUTS = ((2048, 2048, 1000), (64, 48, 16), (32, 40, 8), (16, 16, 8))
"""Above a size: the first of what it becomes, and how many there are. Attention has blocks of 32 positions."""


def cut_call(text: str) -> str:
    """The same call with fewer rows and positions, and a smaller vocabulary, which qemu can compute.

    The widths stay, and so do the order of the dimensions in memory, and which sizes are equal.
    """
    name, arguments, named = json.loads(text)
    return json.dumps([name, [_cut(argument) for argument in arguments], {k: _cut(v) for k, v in named.items()}])


def _cut(value: Argument) -> Argument:
    if isinstance(value, Mapping) and "tensor" in value:
        dtype, shape, strides = value["tensor"]
        fewer = [_cut_size(size) for size in shape]
        return {"tensor": [dtype, fewer, strides if fewer == shape else _dense_strides(fewer, strides)]}
    if isinstance(value, list):
        return [_cut_size(inner) if isinstance(inner, int) else _cut(inner) for inner in value]
    return value


def _cut_size(size: int) -> int:
    if size in WIDTHS:
        return size
    return next((first + size % count for above, first, count in CUTS if size > above), size)


def _dense_strides(shape: Sequence[int], strides: Sequence[int]) -> list[int]:
    """Strides without gaps in the order of the ones before; what was broadcast stays so."""
    made, step = list(strides), 1
    for place in sorted(range(len(shape)), key=lambda place: (strides[place], -place)):
        if strides[place]:
            made[place], step = step, step * shape[place]
    return made
