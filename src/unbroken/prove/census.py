"""What lives in a program beside the state of its run: tensors, arrays and generators, by the names that lead there.

A traced run takes a census after some steps and at its end. By it two runs are compared (`beside.py`): what the
program never gave to `state` ends with other values when an interruption has lost it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, NamedTuple

import torch

from unbroken.canonical_json import digest_json
from unbroken.prove.leaves import count_bytes, describe_leaf, digest_leaf, is_leaf, locate_tensor
from unbroken.prove.members import Members, list_members
from unbroken.prove.roots import TRAINED, find_nameless, find_namespaces

MOST_OBJECTS = 500_000
"""What is nearest to a variable is seen first; what is further away is data."""

_DRAWING = (
    torch.utils.data.DataLoader,
    torch.utils.data.Sampler,
    torch.utils.data.dataloader._BaseDataLoaderIter,
)
"""Each new iterator draws from their generators: if that decides the order of the data, the states show it."""


class _Owner(NamedTuple):
    path: str
    kind: str
    is_whole: bool
    """All below it is its own."""


@dataclass
class Census:
    """`entries`: path -> path of its owner, type of that, what the value is, its digest."""

    entries: dict[str, list[str]] = field(default_factory=dict)
    trained: list[str] = field(default_factory=list)
    """Owners that are models, optimizers, schedulers or scalers."""
    metrics: list[str] = field(default_factory=list)
    """Owners that collect, and are reset before they are read."""
    empty: list[str] = field(default_factory=list)
    """What is None or an empty list."""
    lengths: dict[str, int] = field(default_factory=dict)
    """Of lists."""
    is_cut: bool = False
    """There are more objects than were looked at."""


def take_census(state: Mapping[str, Any], tensors: Sequence[torch.Tensor], largest: float = float("inf")) -> Census:
    """Look at all that the program holds now.

    Args:
        state: The objects of the run: they may hold more than their states.
        tensors: The live tensors of the state, which are left out.
        largest: Tensors and arrays of more bytes are left out.
    """
    walk = _Walk(state, tensors)
    walk.follow([(name, holder) for name, holder in state.items()])
    walk.follow([(f"{prefix}{name}", value) for prefix, names in find_namespaces() for name, value in names.items()])
    for root in list(find_nameless(walk.seen)):
        walk.follow([root])
    return walk.write_census(largest)


class _Walk:
    """Breadth first, every object once, under the first path that leads to it."""

    def __init__(self, state: Mapping[str, Any], tensors: Sequence[torch.Tensor]) -> None:
        self.seen: dict[int, object] = {}
        """Kept alive, so that no id is given twice."""
        self._holders = {id(holder) for holder in state.values()}
        self._stored = {locate_tensor(tensor) for tensor in tensors} - {None}
        self._leaves: list[tuple[str, _Owner, Any]] = []
        self._drawn: set[int] = set()
        self._census = Census()

    def follow(self, roots: Members) -> None:
        """Walk on from these paths and objects."""
        waiting: deque[tuple[str, Any, _Owner | None]] = deque((path, thing, None) for path, thing in roots)
        while waiting:
            path, thing, owner = waiting.popleft()
            if thing is None:
                self._census.empty.append(path)
            elif id(thing) not in self.seen:
                waiting.extend(self._meet(path, thing, owner))

    def _meet(self, path: str, thing: Any, owner: _Owner | None) -> list[tuple[str, Any, _Owner | None]]:
        if is_leaf(thing):
            self.seen[id(thing)] = thing
            self._leaves.append((path, owner or _Owner(path, describe_leaf(thing), False), thing))
            return []
        members = None if self._is_full() else list_members(thing)
        if members is None:
            return []
        self.seen[id(thing)] = thing
        self._note(path, thing, members)
        owner = owner if owner and owner.is_whole else self._begin_owner(path, thing)
        return [(path + below, value, owner) for below, value in members]

    def _is_full(self) -> bool:
        self._census.is_cut = len(self.seen) >= MOST_OBJECTS
        return self._census.is_cut

    def _note(self, path: str, thing: Any, members: Members) -> None:
        kind = type(thing)
        if issubclass(kind, list | deque):
            self._census.lengths[path] = len(members)
            if not members:
                self._census.empty.append(path)
        if issubclass(kind, _DRAWING):
            self._drawn |= {id(value) for name, value in members if name.endswith("generator")}

    def _begin_owner(self, path: str, thing: Any) -> _Owner:
        kind: Any = type(thing)
        if issubclass(kind, TRAINED) and id(thing) not in self._holders:
            self._census.trained.append(path)
            self._add_numbers(path, thing)
        if _is_metric(kind):
            self._census.metrics.append(path)
        return _Owner(path, kind.__name__, issubclass(kind, TRAINED) or _is_metric(kind))

    def _add_numbers(self, path: str, thing: Any) -> None:
        if not issubclass(type(thing), torch.nn.Module):
            groups = thing.param_groups if isinstance(thing, torch.optim.Optimizer) else [vars(thing)]
            numbers = [{key: value for key, value in group.items() if _is_plain(value)} for group in groups]
            self._census.entries[path] = [path, type(thing).__name__, "numbers", digest_json(repr(numbers))[:16]]

    def write_census(self, largest: float) -> Census:
        """Digests of all values that were met."""
        for path, owner, leaf in self._leaves:
            if not self._is_left_out(leaf, largest) and (digest := digest_leaf(leaf)):
                self._census.entries[path] = [owner.path, owner.kind, describe_leaf(leaf), digest]
        return self._census

    def _is_left_out(self, leaf: Any, largest: float) -> bool:
        if id(leaf) in self._drawn or count_bytes(leaf) > largest:
            return True
        return isinstance(leaf, torch.Tensor) and locate_tensor(leaf) in self._stored


def _is_plain(value: object) -> bool:
    if isinstance(value, list | tuple):
        return all(_is_plain(each) for each in value)
    return isinstance(value, bool | int | float | str | None)


@cache
def _is_metric(kind: type) -> bool:
    return all(callable(getattr(kind, name, None)) for name in ("reset", "update", "compute"))
