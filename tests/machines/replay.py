"""Every call of torch that the real models make, again on made-up tensors of the same types, shapes and strides."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload

from latentwire.params.load import Params
from tests.machines.operations import Argument, cut_call

KEPT = Path(__file__).parent / "operations.txt"
"""Written by `python -m tests.machines.record`."""
POSITIVE = ("sqrt", "rsqrt", "log", "div", "reciprocal", "addcdiv_", "pow")
"""Operations that are given no number below 1/16."""
SMALL = 16
"""Integers are below it; it is less than any vocabulary."""
PERIOD = 65521
"""A prime: numbers repeat with it, in step with no size of a tensor."""
MIXER = 2654435761
"""Knuth's multiplier: neighbouring places get distant numbers."""


def compute_parts(values: Params, most: int | None = None) -> Iterator[tuple[str, str]]:
    """Make all calls, or `most` of each operation; yields one part: the SHA-256 of `digests.txt`, a call in a line."""
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(values.runtime.threads)
    calls = sorted(set(map(cut_call, read_calls())))
    lines = [f"{digest_call(call)} {call}\n" for call in (calls if most is None else choose_calls(calls, most))]
    Path("digests.txt").write_text("".join(lines), encoding="utf-8")
    yield "operations", hashlib.sha256("".join(lines).encode()).hexdigest()


def choose_calls(calls: Sequence[str], most: int) -> list[str]:
    """At most so many calls of each operation, spread over its sorted ones."""
    by_operation = [list(same) for _, same in groupby(sorted(calls), key=lambda call: json.loads(call)[0])]
    return [call for same in by_operation for call in same[:: -(-len(same) // most)]]


def digest_call(text: str) -> str:
    """SHA-256 of all that a call returns, and of the tensors that it was given, if it changes some."""
    torch.manual_seed(0)
    name, arguments, named = json.loads(text)
    operation = find_operation(name)
    positive = operation.overloadpacket.__name__ in POSITIVE
    made = [make_argument(value, place, positive) for place, value in enumerate(arguments)]
    limit_indices(operation.overloadpacket.__name__, made)
    keywords = {key: make_argument(value, 100 + place, positive) for place, (key, value) in enumerate(named.items())}
    returned = operation(*made, **keywords)
    digest = hashlib.sha256()
    changed = [made, keywords] if operation._schema.is_mutable else []
    for tensor in _tensors([returned, changed]):
        digest.update(tensor.detach().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def find_operation(name: str) -> OpOverload:
    """`aten.addmm.default` → the operation."""
    library, packet, overload = name.split(".")
    found: OpOverload = getattr(getattr(getattr(torch.ops, library), packet), overload)
    return found


def make_argument(value: Argument, place: int, positive: bool) -> Any:
    """What `describe_argument` describes; tensors are functions of their description and place, to the byte."""
    if isinstance(value, list):
        return [make_argument(inner, place * 31 + number, positive) for number, inner in enumerate(value)]
    if not isinstance(value, Mapping):
        return value
    ((kind, about),) = value.items()
    if kind == "tensor":
        return make_tensor(about, place, positive)
    if kind == "torch":
        return torch.device(about) if about == "cpu" else getattr(torch, about)
    return float(about) if kind == "float" else None


def make_tensor(about: list[Any], place: int, positive: bool) -> Tensor:
    """A tensor of [dtype, shape, strides], made of integers alone."""
    name, shape, strides = about
    dtype = getattr(torch, name)
    places = 1 + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True)) if 0 not in shape else 0
    flat = make_integers().roll(-97 * place).repeat(places // PERIOD + 1)[:places]
    if dtype == torch.bool:
        flat = flat % 3 > 0
    elif not dtype.is_floating_point:
        flat = flat % SMALL
    else:
        flat = flat.float() / 2**19 - 1 if not positive else flat.float() / 2**20 + 1 / 16
    return flat.to(dtype).as_strided(shape, strides)


@cache
def make_integers() -> Tensor:
    """[PERIOD] int64 below 2^20, which float32 holds to the bit."""
    return (torch.arange(PERIOD) * MIXER) % 2**32 >> 12


def limit_indices(packet: str, made: list[Any]) -> None:
    """Let what is an index be one of what it is an index into."""
    if packet == "embedding":
        made[1] = made[1] % len(made[0])
    elif packet in ("gather", "index_add", "index_select"):
        made[2] = made[2] % made[0].shape[made[1]]
    elif packet in ("index", "index_put"):
        made[1] = [
            index if index is None or index.dtype == torch.bool else index % size
            for index, size in zip(made[1], made[0].shape, strict=False)
        ]


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _tensors(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _tensors(inner)


def read_calls() -> list[str]:
    """The kept list: a call in a line."""
    return KEPT.read_text(encoding="utf-8").splitlines()
