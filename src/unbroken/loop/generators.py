"""Where the generators stood when an epoch began, so that its batches can be drawn again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from functools import reduce
from typing import Any, TypeVar, cast

from torch.utils.data import DataLoader, DistributedSampler, RandomSampler, SubsetRandomSampler, WeightedRandomSampler

from unbroken.checkpoint.holders import is_generator, read_holder, set_generator
from unbroken.checkpoint.state import digest_state
from unbroken.checkpoint.tensorfile import digest_tensors
from unbroken.checkpoint.tree import Encoder
from unbroken.errors import UnbrokenError
from unbroken.exact.randomness import get_global_state, set_global_state

T = TypeVar("T")

_SAMPLERS = ("sampler", "batch_sampler", "batch_sampler.sampler")
_SHUFFLING = (RandomSampler, SubsetRandomSampler, WeightedRandomSampler, DistributedSampler)


def read_generators(state: Mapping[str, Any], loader: object) -> dict[str, Any]:
    """The global generators and those in the state, and what stands there of the parts of a loader."""
    own = {**_own_generators(state), **_own_parts(state, loader)}
    return {"global": get_global_state(), "own": {name: deepcopy(read_holder(own[name], name)) for name in own}}


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
        UnbrokenError: As `begin_iteration`; or the checkpoint does not say how the epoch began.
    """
    now = read_generators(state, loader)
    _check_known(now["own"], begun["own"])
    parts = _own_parts(state, loader)
    _set_generators(state, begun)
    for name, part in parts.items():
        part.load_state_dict(deepcopy(begun["own"][name]))
    try:
        items = begin_iteration(loader, state)
        for _ in range(passed):
            next(items)
    finally:
        _set_generators(state, now)
    for name, part in parts.items():
        # What came to the same place by itself is in the middle of its iteration, which a load might begin anew.
        if digest_value(read_holder(part, name)) != digest_value(now["own"][name]):
            part.load_state_dict(now["own"][name])
    return items


def check_order(loader: object) -> None:
    """The batches of a loader come in one order.

    Raises:
        UnbrokenError: They come as its workers have them ready.
    """
    has_order = getattr(loader, "in_order", True) or not getattr(loader, "num_workers", None)
    if not has_order:
        raise UnbrokenError(
            f"The {type(loader).__name__} has in_order=False: its batches come as its workers have them ready, so that "
            "a resume would train some twice and others not at all. Next: leave in_order out."
        )


def check_samplers(loader: object, state: Mapping[str, Any]) -> None:
    """The batches of a loader that all epochs share have one order, of no generator that no checkpoint holds.

    Raises:
        UnbrokenError: They have none; or a sampler has such a generator among its attributes.
    """
    check_order(loader)
    stored = {id(part) for part in state.values()}
    for path in _SAMPLERS:
        sampler = _find_part(loader, path)
        for name, own in getattr(sampler, "__dict__", {}).items():
            if is_generator(own) and not {id(own), id(sampler)} & stored:
                raise _unknown_generator(f"loader.{path}.{name}")


def check_stream(source: object, state: Mapping[str, Any]) -> None:
    """A stream that each start draws from its beginning has an order that does not come from the generators.

    Raises:
        UnbrokenError: It is a plain DataLoader that shuffles, where what has a `state_dict` keeps its own position; or
            its batches have no order at all.
    """
    check_order(source)
    if not isinstance(source, DataLoader) or hasattr(source, "load_state_dict"):
        return
    stored = {id(part) for part in state.values()}
    for sampler in (_find_part(source, path) for path in _SAMPLERS):
        if type(sampler) in _SHUFFLING and getattr(sampler, "shuffle", True) and id(sampler) not in stored:
            raise UnbrokenError(
                f"run.batches was given a DataLoader with a {type(sampler).__name__}, which shuffles anew in each "
                "start and then begins at the first batch: a resume would train on other batches. Next: loop over "
                "run.epochs(number, loader) and epoch.batches(loader), or put torchdata's StatefulDataLoader into "
                "`state`, or give run.batches a loader of the batches that are left (`batch_sampler=`, by run.step)."
            )


def find_samplers(loader: object) -> list[Any]:
    """What a loader draws its order from."""
    return [part for path in _SAMPLERS if (part := _find_part(loader, path)) is not None]


def _check_known(needed: Mapping[str, Any], stored: Mapping[str, Any]) -> None:
    unknown = sorted(needed.keys() - stored.keys())
    if unknown:
        raise UnbrokenError(
            f"The checkpoint lies inside an epoch, and does not say where {', '.join(unknown)} stood when that began: "
            "its loader was another, or an older version of unbroken wrote it. Nothing was changed. Next: end the "
            "epoch with what began it."
        )


def _set_generators(state: Mapping[str, Any], stored: Mapping[str, Any]) -> None:
    set_global_state(stored["global"])
    for name, own in _own_generators(state).items():
        set_generator(own, stored["own"][name])


def _own_generators(state: Mapping[str, Any]) -> dict[str, Any]:
    return {name: own for name, own in state.items() if is_generator(own)}


def _own_parts(state: Mapping[str, Any], loader: object) -> dict[str, Any]:
    """What a loader is made of and stands in the state: a sampler with a `state_dict`, say."""
    parts = [_find_part(loader, path) for path in (*_SAMPLERS, "dataset", "collate_fn")]
    return {name: own for name, own in state.items() if any(own is part for part in parts)}


def _find_part(loader: object, path: str) -> Any:
    return reduce(lambda part, name: getattr(part, name, None), path.split("."), loader)


def digest_value(value: Any) -> str:
    """64 hex over the state of one holder."""
    encoder = Encoder()
    return digest_state(encoder.encode(value, "part"), digest_tensors(encoder.tensors))


def _check_loader(loader: object, state: Mapping[str, Any]) -> None:
    check_order(loader)
    if hasattr(loader, "load_state_dict"):
        raise UnbrokenError(
            f"A {type(loader).__name__} keeps its own position, and epoch.batches would skip its batches again. "
            "Next: put it into `state` and ask run.steps for the steps, or give epoch.batches a plain DataLoader."
        )
    known = {id(own) for own in _own_generators(state).values()}
    for path in ("generator", *(f"{path}.generator" for path in _SAMPLERS)):
        own = _find_part(loader, path)
        if is_generator(own) and id(own) not in known:
            raise _unknown_generator(f"loader.{path}")


def _unknown_generator(place: str) -> UnbrokenError:
    return UnbrokenError(
        f"The loader draws from a generator that is not in `state`, {place}, so a resume could not draw the same "
        f'batches. Next: `Run(state={{…, "order": {place}}})`, with the generator itself under a name of its own.'
    )
