"""Positions in the data that stand in a state, and that the workers of a DataLoader move where no checkpoint sees it.

A worker reads a copy of a stream, and what stands in the state stays where it stood. A sampler is drawn in the process
itself, but for batches that the workers prepare ahead of those that were trained.
"""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator, Mapping
from multiprocessing import process
from types import FunctionType, ModuleType
from typing import Any, TypeVar

import torch
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import DataLoader, IterableDataset
from torch.utils.data.dataloader import _BaseDataLoaderIter

from unbroken.checkpoint.holders import Holder, read_holder, unmoved_generators
from unbroken.errors import UnbrokenError
from unbroken.loop.generators import digest_value, find_samplers

T = TypeVar("T")
_CROWD = 1000
"""A container of more members holds data, not the parts of a data set."""
_TOO_MANY = 100_000
"""So many objects are no data set."""
_TRAINED = (torch.nn.Module, torch.optim.Optimizer, LRScheduler)
_NO_PARTS = (type, ModuleType, FunctionType, torch.nn.Module, torch.Tensor)


class PositionWatch:
    """Finds the parts of a state that workers read in a stream; one that then stands still for a step is refused."""

    def __init__(self, state: Mapping[str, Holder]) -> None:
        """`state`: all parts, also those that each rank has of its own."""
        self._state = state
        self._children: set[int | None] = set()
        self._read: dict[str, str] = {}
        """Part that workers read -> digest of its state when that was found out."""

    def end_step(self, step: int) -> None:
        """Look whether what workers read has moved, or whether there are other workers than before.

        Raises:
            UnbrokenError: A part that workers read stands where it stood a step ago.
        """
        for name, digest in self._digest(self._read).items():
            if digest == self._read[name]:
                raise _moved_in_copies(name, step)
        self._read = {}
        # Not active_children(): that reaps the dead, and torch could no more say how a worker ended.
        children = {child.pid for child in list(getattr(process, "_children", ()))}
        if children != self._children:
            self._children = children
            self._read = self._digest(self._find_read_by_workers()) if children else {}

    def draw_batches(self, source: Iterable[T]) -> Iterator[T]:
        """What a source gives.

        Raises:
            UnbrokenError: It is a loader with workers, and to draw a batch moves a part of the state: its sampler, say.
        """
        items = iter(source)
        names = self._find_drawn_ahead(source)
        return self._draw_checked(items, names) if names else items

    def _draw_checked(self, items: Iterator[T], names: Iterable[str]) -> Iterator[T]:
        before: dict[str, str] | None = self._digest(names)
        for item in items:
            moved = [name for name, digest in self._digest(before or ()).items() if digest != (before or {})[name]]
            if moved:
                raise _drawn_ahead(moved[0])
            before = None  # as the first batch, so the others
            yield item

    def _digest(self, names: Iterable[str]) -> dict[str, str]:
        names = list(names)
        if not names:
            return {}
        with unmoved_generators(self._state):
            return {name: digest_value(read_holder(self._state[name], name)) for name in names}

    def _find_drawn_ahead(self, loader: object) -> list[str]:
        if not getattr(loader, "num_workers", 0) or hasattr(loader, "load_state_dict"):
            return []
        return self._find_parts(_find_reached(find_samplers(loader)))

    def _find_read_by_workers(self) -> list[str]:
        parts: Iterable[Any] = self._state.values()
        loaders = [part for part in parts if isinstance(part, DataLoader)]
        known = _find_reached([loader.dataset for loader in loaders])  # these know themselves where their workers are
        return self._find_parts(_find_reached(_list_streams_in_workers()) - known)

    def _find_parts(self, ids: set[int]) -> list[str]:
        parts = self._state.items()
        return [name for name, part in parts if id(part) in ids and not isinstance(part, (*_TRAINED, DataLoader))]


def _drawn_ahead(name: str) -> UnbrokenError:
    return UnbrokenError(
        f"run.batches was given a DataLoader with workers that draws its order from `{name}` of the state. Workers "
        f"prepare batches ahead, so that a checkpoint would have `{name}` after batches that were not trained, and a "
        "resume would leave these out. Next: num_workers=0; or move it in the loop, by the batches that were trained; "
        "or loop over run.epochs(number, loader) and epoch.batches(loader); or put torchdata's StatefulDataLoader into "
        "`state`."
    )


def _moved_in_copies(name: str, step: int) -> UnbrokenError:
    return UnbrokenError(
        f"A DataLoader with workers reads a stream with `{name}` of the state, which stands after step {step} where it "
        "stood after the step before. Each worker moves a copy of its own, which no checkpoint sees, so that a resume "
        "would train on other batches. Next: num_workers=0; or move it in the loop, by the batches that were trained; "
        "or put torchdata's StatefulDataLoader into `state`; or take a map-style data set whose order is a function of "
        "the step (`batch_sampler=`, by run.step). If the stream begins with the batch of step run.step + 1 by itself, "
        f"take `{name}` out of `state`."
    )


def _list_streams_in_workers() -> Iterator[object]:
    """The streams that workers of this process read, but for those of loaders that a resume draws again."""
    # A loader does not say that it has begun, and in a plain loop nobody else holds its iterator.
    iterators: list[Any] = [found for found in gc.get_objects() if issubclass(type(found), _BaseDataLoaderIter)]
    for own in (vars(iterator) for iterator in iterators):
        draws_again = getattr(own.get("_worker_init_fn"), "draws_again", False)
        if own.get("_num_workers") and isinstance(own.get("_dataset"), IterableDataset) and not draws_again:
            yield own["_dataset"]


def _find_reached(roots: Iterable[object]) -> set[int]:
    """The ids of these objects, and of all that they are made of."""
    waiting = list(roots)
    seen = set(map(id, waiting))
    while waiting and len(seen) < _TOO_MANY:
        new = {id(member): member for member in _list_members(waiting.pop()) if id(member) not in seen}
        seen |= new.keys()
        waiting += new.values()
    return seen


def _list_members(one: object) -> list[Any]:
    kind = type(one)  # to ask a lazy or weak object for its class may do anything
    if issubclass(kind, _NO_PARTS):
        return []
    if issubclass(kind, (list, tuple, set, dict)):
        members: Any = one.values() if isinstance(one, dict) else one
        return list(members) if len(members) <= _CROWD else []
    try:
        return list(object.__getattribute__(one, "__dict__").values())
    except AttributeError:
        return []
