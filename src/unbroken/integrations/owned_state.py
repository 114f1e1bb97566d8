"""What a data loader's parts carry from one epoch to the next: generators, counters, states of their own."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

_COUNTERS = ("epoch", "iteration")
_PARTS = ("base_dataloader", "dataset", "sampler", "batch_sampler", "collate_fn")


def read_owned_state(loader: Any) -> dict[str, Any]:
    """Path -> state of everything that a loader, its dataset, samplers and collate function draw from or count with."""
    state: dict[str, Any] = {}
    for path, part in _find_parts(loader):
        if _is_stateful(part):
            state[path] = part.state_dict()
        for name, value in _attributes_of(part).items():
            stored = _read_value(name, value)
            if stored is not None:
                state[f"{path}.{name}"] = stored
    return state


def write_owned_state(loader: Any, state: dict[str, Any]) -> None:
    """Put it back. A generator that a sampler makes when it is first used is made now."""
    for path, part in _find_parts(loader):
        if path in state:
            part.load_state_dict(state[path])
        for name, value in _attributes_of(part).items():
            if f"{path}.{name}" in state:
                _write_value(part, name, value, state[f"{path}.{name}"])


def _find_parts(loader: Any) -> Iterator[tuple[str, Any]]:
    seen: set[int] = set()
    waiting = [("loader", loader)]
    while waiting:
        path, part = waiting.pop(0)
        if id(part) in seen:
            continue
        seen.add(id(part))
        yield path, part
        attributes = _attributes_of(part)
        waiting += [(f"{path}.{name}", attributes[name]) for name in _PARTS if attributes.get(name) is not None]


def _attributes_of(part: Any) -> dict[str, Any]:
    return dict(getattr(part, "__dict__", {}))


def _is_stateful(part: Any) -> bool:
    # A loader tells where it stands, which is not how its epoch began.
    is_loader = isinstance(part, torch.utils.data.DataLoader | torch.nn.Module)
    return not is_loader and callable(getattr(part, "load_state_dict", None)) and callable(part.state_dict)


def _read_value(name: str, value: Any) -> Any:
    if isinstance(value, torch.Generator):
        return value.get_state()
    if isinstance(value, np.random.Generator):
        return value.bit_generator.state
    if isinstance(value, np.random.RandomState):
        return value.get_state(legacy=False)
    if isinstance(value, random.Random):
        return value.getstate()
    return value if name in _COUNTERS and isinstance(value, int) else None


def _write_value(part: Any, name: str, value: Any, stored: Any) -> None:
    if isinstance(value, np.random.Generator):
        value.bit_generator.state = stored
    elif isinstance(value, np.random.RandomState):
        value.set_state(stored)
    elif isinstance(value, random.Random):
        value.setstate(stored)
    elif isinstance(stored, torch.Tensor):
        generator = torch.Generator() if value is None else value
        generator.set_state(stored)
        setattr(part, name, generator)
    else:
        setattr(part, name, stored)
