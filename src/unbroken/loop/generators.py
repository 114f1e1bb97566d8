"""Where the generators stood when an epoch began, so that its batches can be drawn again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar, cast

import numpy as np
import torch

from unbroken.errors import UnbrokenError
from unbroken.exact.randomness import get_global_state, set_global_state

T = TypeVar("T")


def read_generators(state: Mapping[str, Any]) -> dict[str, Any]:
    """The global generators, and those that stand in the state of the run under a name of their own."""
    return {"global": get_global_state(), "own": {name: _read(own) for name, own in _own_generators(state).items()}}


def set_generators(state: Mapping[str, Any], stored: Mapping[str, Any]) -> None:
    """Put back what `read_generators` gave."""
    set_global_state(stored["global"])
    for name, own in _own_generators(state).items():
        if isinstance(own, torch.Generator):
            own.set_state(stored["own"][name])
        else:
            own.bit_generator.state = stored["own"][name]


def begin_iteration(loader: Iterable[T], state: Mapping[str, Any]) -> Iterator[T]:
    """A new iterator, which depends on nothing that no checkpoint holds.

    Raises:
        UnbrokenError: The loader draws from a generator that is not in the state, or has a position of its own.
    """
    _check_loader(loader, state)
    if getattr(loader, "persistent_workers", False):
        # A worker that lives on has drawn in the epochs before, and what it remembers is in no checkpoint.
        cast(Any, loader)._iterator = None
    return iter(loader)


def repeat_iteration(
    loader: Iterable[T], state: Mapping[str, Any], begun: Mapping[str, Any], passed: int
) -> Iterator[T]:
    """The iterator of an epoch whose generators stood at `begun`, after `passed` batches; they stand as before.

    Raises:
        StopIteration: It has fewer batches.
        UnbrokenError: As `begin_iteration`.
    """
    now = read_generators(state)
    set_generators(state, begun)
    try:
        items = begin_iteration(loader, state)
        for _ in range(passed):
            next(items)
    finally:
        set_generators(state, now)
    return items


def _own_generators(state: Mapping[str, Any]) -> dict[str, Any]:
    return {name: own for name, own in state.items() if isinstance(own, torch.Generator | np.random.Generator)}


def _read(own: Any) -> Any:
    return own.get_state() if isinstance(own, torch.Generator) else own.bit_generator.state


def _check_loader(loader: object, state: Mapping[str, Any]) -> None:
    if hasattr(loader, "load_state_dict"):
        raise UnbrokenError(
            f"A {type(loader).__name__} keeps its own position, and epoch.batches would skip its batches again. "
            "Next: put it into `state` and ask run.steps for the steps, or give epoch.batches a plain DataLoader."
        )
    batch_sampler = getattr(loader, "batch_sampler", None)
    drawers = (loader, getattr(loader, "sampler", None), batch_sampler, getattr(batch_sampler, "sampler", None))
    generators = [getattr(drawer, "generator", None) for drawer in drawers]
    known = [id(own) for own in _own_generators(state).values()]
    if any(isinstance(own, torch.Generator | np.random.Generator) and id(own) not in known for own in generators):
        raise UnbrokenError(
            "The loader draws from a generator that is not in `state`, so a resume could not draw the same batches. "
            'Next: `Run(state={…, "order": generator})`, with the generator itself under a name of its own.'
        )
