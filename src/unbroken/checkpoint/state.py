"""What a run is made of at one step: every object with a state, and the global random generators."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, MutableMapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch

from unbroken.canonical_json import JSON, digest_json
from unbroken.checkpoint.refill import (
    Refiller,
    restore_module_traits,
    restore_parameter_traits,
    shape_module,
)
from unbroken.checkpoint.tensorfile import digest_tensor, tensor_bytes, tensor_spec
from unbroken.checkpoint.traits import (
    TRAITS,
    Kinds,
    LiveState,
    flatten_traits,
    join_traits,
    list_slots,
    merge_traits,
    read_traits,
)
from unbroken.checkpoint.tree import Decoder, Encoder
from unbroken.errors import CheckpointError
from unbroken.exact.randomness import get_global_state, set_global_state
from unbroken.run_numerics import add_unwritten, is_unwritten

RNG = "rng"
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]*")


@runtime_checkable
class Stateful(Protocol):
    """Module, optimizer, scheduler, scaler, loader, or anything of yours."""

    def state_dict(self) -> Any: ...

    def load_state_dict(self, state_dict: Any, /) -> Any: ...


Holder = Stateful | torch.Generator | np.random.Generator | MutableMapping[str, Any]
"""What may stand in `state`: also generators, and dicts (a cursor, say), which are refilled in place."""


@dataclass(frozen=True)
class Snapshot:
    """`tensors`: name -> tensor. `tree`: everything else, as JSON that refers to the tensors by name."""

    tensors: dict[str, torch.Tensor]
    tree: JSON

    def digests(self) -> dict[str, str]:
        """Digest of every tensor: SHA-256 of dtype, shape and bytes."""
        return {name: digest_tensor(tensor_spec(t, name), tensor_bytes(t)) for name, t in sorted(self.tensors.items())}

    def digest(self) -> str:
        """A single digest of the whole state."""
        return digest_state(self.tree, self.digests())


def digest_state(tree: JSON, digests: Mapping[str, str]) -> str:
    """64 hex over the tree and the digests of the tensors."""
    return digest_json({"tree": tree, "tensors": dict(digests)})


def capture_state(objects: Mapping[str, Holder], copy: bool = True, ended: bool = False) -> Snapshot:
    """The state of all objects and of the global generators of Python, numpy, torch and the current CUDA device.

    The generators of other CUDA devices are not in it: the rule is one process for each GPU, which is its current
    device. A process that draws numbers on several of them passes a `torch.Generator` for each in `objects`.

    With `copy=False` the tensors are the live ones: only for a caller that is done with them before the next step.
    Of a `LiveState` the traits that are not as built are stored too (`ended`: the loop has, see there).

    Raises:
        CheckpointError: A value cannot be stored.
        ValueError: A name is malformed or reserved.
    """
    encoder, tree = _encode_objects(objects)
    if isinstance(objects, LiveState) and (changed := objects.changed_traits(_traits_from(encoder, objects), ended)):
        tree[TRAITS] = encoder.encode(changed, TRAITS)
    tree[RNG] = encoder.encode(get_global_state(), RNG)
    tensors = {name: tensor.detach() if tensor.requires_grad else tensor for name, tensor in encoder.tensors.items()}
    if copy:
        tensors = {name: tensor.to("cpu", copy=True) for name, tensor in tensors.items()}
    return Snapshot(tensors, tree)


def _encode_objects(objects: Mapping[str, Holder]) -> tuple[Encoder, dict[str, JSON]]:
    encoder = Encoder()
    for name, holder in objects.items():
        if isinstance(holder, torch.nn.Module):
            slots = ((path, places[key]) for path, _, places, key in list_slots(holder, name))
            encoder.seen.update({id(tensor): (path, tensor) for path, tensor in slots if tensor is not None})
    tree: dict[str, JSON] = {}
    for name in sorted(objects):
        if is_unwritten(objects[name]):
            continue
        if name == RNG or not _NAME.fullmatch(name):
            raise ValueError(f"state may not be called {name!r}: use letters, digits, '_', '.', '-', and not 'rng'")
        encoder.tracks = isinstance(objects[name], dict)
        tree[name] = _encode_holder(encoder, objects[name], name)
    encoder.tracks = False
    return encoder, tree


def _encode_holder(encoder: Encoder, holder: Holder, name: str) -> JSON:
    try:
        return encoder.encode(_read_holder(holder, name), name)
    except RecursionError:
        raise CheckpointError(
            f"The state {name} contains itself, or is nested too deeply to be stored. Next: keep that out of it."
        ) from None


def _traits_from(encoder: Encoder, objects: Mapping[str, Holder]) -> dict[str, Kinds]:
    return read_traits(objects, encoder.tensors, encoder.arrays, encoder.same)


def restore_state(snapshot: Snapshot, objects: Mapping[str, Holder], drop: Collection[str] = ()) -> None:
    """Put the state back, the random generators last, and check it: captured again, it must be the same.

    What is in a dict stays the same object wherever it fits, so that an optimizer, say, goes on training it.
    `drop` names objects (or `rng`) that are left as they are: the negative control of `prove`, of no other use.
    The tensors of the snapshot may end up inside the objects: do not use it afterwards.

    Raises:
        CheckpointError: Something, which is named, is unknown, missing, refused, or came back changed.
    """
    expected = snapshot.digests()
    live = _traits_from(_encode_objects(objects)[0], objects)
    built = objects.remember_traits(live) if isinstance(objects, LiveState) else live
    branches = dict(_check_branches(snapshot.tree))
    decoder = Decoder(snapshot.tensors)
    changed_traits = decoder.decode(branches.pop(TRAITS, {"$": "dict", "items": []}))
    wanted = join_traits({part: merge_traits(built.get(part, {}), changed_traits.get(part, {})) for part in objects})
    decoder.strides = wanted.get("stride", {})
    states = decoder.decode({"$": "dict", "items": [[k, v] for k, v in branches.items()]})
    add_unwritten(states, objects)
    _check_names(set(states) - {RNG}, set(objects), sorted(decoder.unused))
    kept = {name: objects[name] for name in objects if name not in drop}
    _Loader(decoder.names, wanted, join_traits(live)).load_all(kept, states)
    try:
        if RNG not in drop:
            set_global_state(states[RNG])
    except (RuntimeError, TypeError, ValueError, KeyError) as error:
        raise CheckpointError(
            f"The random generators could not be restored ({error}). Next: run on the kind of device that wrote the "
            "checkpoint.",
            "rng",
        ) from error
    restored = capture_state(objects, copy=False)
    changed = [
        place
        for place in compare_states(snapshot.tree, expected, restored.tree, restored.digests())
        if state_part(place) not in drop
    ]
    if changed:
        more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
        raise CheckpointError(
            f"The state did not come back as it was stored: {changed[0]}{more}. An exact resume is impossible. "
            "Next: make `load_state_dict` of that object put back all that `state_dict` gives.",
            "inexact",
        )


def compare_states(
    first: JSON, first_digests: Mapping[str, str], second: JSON, second_digests: Mapping[str, str]
) -> list[str]:
    """Places at which two states differ: tensors by name, then values by path. Empty when they are equal."""
    names = sorted(first_digests.keys() | second_digests.keys())
    tensors = [f"tensor {name}" for name in names if first_digests.get(name) != second_digests.get(name)]
    before, after = flatten_traits(first), flatten_traits(second)
    traits = [
        f"value {place} ({before.get(place)!r} became {after.get(place)!r})"
        for place in sorted(before.keys() | after.keys())
        if before.get(place) != after.get(place)
    ]
    values = _differing_paths(_without_traits(first), _without_traits(second), "")
    return tensors + [f"value {path}" for path in values] + traits


def state_part(place: str) -> str:
    """The object that a place of `compare_states` belongs to."""
    return place.split(" ", 1)[1].removeprefix(f"{TRAITS}/").split("/", 1)[0].split(" ", 1)[0]


def _without_traits(tree: JSON) -> JSON:
    return {part: branch for part, branch in tree.items() if part != TRAITS} if isinstance(tree, dict) else tree


def _differing_paths(first: JSON, second: JSON, path: str) -> list[str]:
    if isinstance(first, dict) and isinstance(second, dict) and first.keys() == second.keys():
        return [
            place
            for key in first
            for place in _differing_paths(first[key], second[key], path if key in ("items", "$") else f"{path}/{key}")
        ]
    if isinstance(first, list) and isinstance(second, list) and len(first) == len(second):
        named = all(_is_pair(item) for item in [*first, *second])
        return [
            place
            for index, (before, after) in enumerate(zip(first, second, strict=True))
            for place in (
                _differing_paths(before[1], after[1], f"{path}/{before[0]}")
                if named and before[0] == after[0]
                else _differing_paths(before, after, f"{path}/{index}")
            )
        ]
    return (
        [] if digest_json([first]) == digest_json([second]) else [f"{path.lstrip('/')} ({first!r} became {second!r})"]
    )


def _is_pair(item: JSON) -> bool:
    return isinstance(item, list) and len(item) == 2 and isinstance(item[0], str | int)


def _check_branches(tree: JSON) -> Mapping[str, JSON]:
    if not isinstance(tree, dict) or RNG not in tree:
        raise CheckpointError("The state tree has no branch for the random generators.", "tree")
    return tree


def _check_names(stored: set[str], wanted: set[str], unused: list[str]) -> None:
    unknown, missing = sorted(stored - wanted), sorted(wanted - stored)
    if unknown or missing or unused:
        parts = [
            f"it holds {', '.join(unknown)}, which this run does not have" if unknown else "",
            f"it lacks {', '.join(missing)}, which this run needs" if missing else "",
            f"nothing refers to its tensors {', '.join(unused)}" if unused else "",
        ]
        raise CheckpointError(
            f"The checkpoint does not fit the objects of this run: {'; '.join(filter(None, parts))}. "
            f"Next: pass the same `state`, or start in another folder.",
            "objects",
        )


def _read_holder(holder: Holder, name: str) -> Any:
    if isinstance(holder, torch.Generator):
        return holder.get_state()
    if isinstance(holder, np.random.Generator):
        return holder.bit_generator.state
    if isinstance(holder, dict):
        return holder
    if isinstance(holder, Stateful):
        return holder.state_dict()
    raise TypeError(f"state {name!r} is a {type(holder).__name__}: it needs state_dict and load_state_dict")


class _Loader:
    """Puts stored values into holders, and then what values do not say."""

    def __init__(self, names: Mapping[int, str], wanted: Kinds, live: Kinds) -> None:
        self._wanted, self._live = wanted, live
        self._refiller = Refiller(names, wanted, live)

    def load_all(self, objects: Mapping[str, Holder], states: Mapping[str, Any]) -> None:
        """Put the states back.

        Raises:
            CheckpointError: An object refuses its own.
        """
        for name in sorted(objects):
            self._attempt(name, partial(self._prepare, objects[name], name))
        for name in sorted(objects, key=lambda name: (isinstance(objects[name], torch.optim.Optimizer), name)):
            self._attempt(name, partial(self._load, objects[name], name, states[name]))
        for name in sorted(objects):
            self._attempt(name, partial(self._finish, objects[name], name))
        self._attempt("state", self._refiller.place_views)

    def _prepare(self, holder: Holder, name: str) -> None:
        if isinstance(holder, torch.nn.Module):
            shape_module(holder, name, self._wanted, self._live)
            self._refiller.add_module(holder, name)

    def _finish(self, holder: Holder, name: str) -> None:
        if isinstance(holder, torch.nn.Module):
            restore_module_traits(holder, name, self._wanted)
        elif isinstance(holder, torch.optim.Optimizer):
            restore_parameter_traits(holder, name, self._wanted, self._live)

    def _load(self, holder: Holder, name: str, state: Any) -> None:
        if isinstance(holder, torch.Generator):
            holder.set_state(state)
        elif isinstance(holder, np.random.Generator):
            holder.bit_generator.state = state
        elif isinstance(holder, dict):
            self._load_dict(holder, name, state)
        elif isinstance(holder, Stateful):
            if isinstance(holder, torch.optim.Optimizer):
                self._refiller.assign_parameters(holder, name)
            holder.load_state_dict(state)

    def _load_dict(self, holder: dict[str, Any], name: str, state: Any) -> None:
        refilled = self._refiller.refill(holder, state, name)
        if refilled is not holder:  # of another type, which the comparison will name
            holder.clear()
            holder.update(refilled)

    @staticmethod
    def _attempt(name: str, action: Callable[[], None]) -> None:
        try:
            action()
        except (RuntimeError, ValueError, KeyError, TypeError) as error:
            raise CheckpointError(
                f"`{name}` refused its stored state: {error} Next: build the same object as when it was stored, or "
                "start in another folder.",
                "objects",
            ) from error
