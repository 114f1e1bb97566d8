"""What lives in a program beside the state of its run: tensors, arrays, buffers and generators, by name.

A traced run takes a census after some steps and at its end. By it two runs are compared (`beside.py`): what the
program never gave to `state` ends with other values, or other entries, when an interruption has lost it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, NamedTuple

import torch

from unbroken.canonical_json import digest_json
from unbroken.prove.containers import (
    ContainerTable,
    belongs_to_program,
    count_entries,
    is_container,
    stands_for_nothing,
)
from unbroken.prove.leaves import count_bytes, describe_leaf, digest_leaf, is_leaf, locate_tensor
from unbroken.prove.members import Members, is_plain, list_leaf_members, list_members
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


class _Thing(NamedTuple):
    path: str
    thing: Any
    owner: _Owner | None = None
    is_own: bool = True
    """It is the program's, not a library's."""
    parent: str = ""
    """Path of what leads here."""


@dataclass
class Census:
    """`entries`: path -> path of its owner, type of that, what the value is, its digest."""

    entries: dict[str, list[str]] = field(default_factory=dict)
    trained: list[str] = field(default_factory=list)
    """Owners that are models, optimizers, schedulers or scalers."""
    metrics: list[str] = field(default_factory=list)
    """Owners that collect, and are reset before they are read."""
    empty: list[str] = field(default_factory=list)
    """What is None, or stands for nothing yet: an empty list or dict, False, 0, an infinite number."""
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
        self._paths: dict[int, str] = {}
        self._containers = ContainerTable()
        self._census = Census()

    def follow(self, roots: Members) -> None:
        """Walk on from these paths and objects."""
        waiting = deque(_Thing(path, thing) for path, thing in roots)
        while waiting:
            met = waiting.popleft()
            if is_leaf(met.thing):
                self._containers.note_leaf(met.parent, met.thing)
            if met.thing is None or is_plain(met.thing):
                self._note_plain(met)
            elif id(met.thing) not in self.seen:
                waiting.extend(self._meet(met))
            elif met.parent:
                self._containers.add_link(met.parent, self._paths.get(id(met.thing), ""))

    def _note_plain(self, met: _Thing) -> None:
        if met.thing is None or (met.is_own and stands_for_nothing(met.thing)):
            self._census.empty.append(met.path)

    def _meet(self, met: _Thing) -> list[_Thing]:
        return self._meet_leaf(met) if is_leaf(met.thing) else self._meet_object(met)

    def _meet_leaf(self, met: _Thing) -> list[_Thing]:
        self.seen[id(met.thing)] = met.thing
        owner = met.owner or _Owner(met.path, describe_leaf(met.thing), False)
        self._leaves.append((met.path, owner, met.thing))
        return [
            _Thing(met.path + below, value, met.owner, met.is_own, met.parent)
            for below, value in list_leaf_members(met.thing)
        ]

    def _meet_object(self, met: _Thing) -> list[_Thing]:
        members = None if self._is_full() else list_members(met.thing)
        if members is None:
            return []
        self.seen[id(met.thing)], self._paths[id(met.thing)] = met.thing, met.path
        self._containers.add_object(met.path, met.parent)
        owner = met.owner if met.owner and met.owner.is_whole else self._begin_owner(met.path, met.thing)
        is_own = belongs_to_program(met.thing, met.is_own)
        self._note(met._replace(is_own=is_own), owner, members)
        return [_Thing(met.path + below, value, owner, is_own, met.path) for below, value in members]

    def _is_full(self) -> bool:
        self._census.is_cut = len(self.seen) >= MOST_OBJECTS
        return self._census.is_cut

    def _note(self, met: _Thing, owner: _Owner, members: Members) -> None:
        if issubclass(type(met.thing), list | deque):
            self._census.lengths[met.path] = count_entries(met.thing, members)[0]
        if is_container(met.thing):
            self._note_container(met, owner, members)
        if issubclass(type(met.thing), _DRAWING):
            self._drawn |= {id(value) for name, value in members if name.endswith("generator")}

    def _note_container(self, met: _Thing, owner: _Owner, members: Members) -> None:
        count, digest = count_entries(met.thing, members)
        if not count:
            self._census.empty.append(met.path)
        elif met.is_own:
            # Hooks of a model are numbered by a counter of the process.
            digest = str(count) if owner.is_whole else digest
            self._containers.add_container(met.path, [owner.path, owner.kind, digest])

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
        """Digests of all values that were met, and of the entries of containers."""
        self._census.entries.update(self._containers.write_entries())
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
