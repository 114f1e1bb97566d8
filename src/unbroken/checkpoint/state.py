"""What a run is made of at one step: every object with a state, and the global random generators."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch

from unbroken.canonical_json import JSON, digest_json
from unbroken.checkpoint.tensorfile import digest_tensor, tensor_bytes, tensor_spec
from unbroken.checkpoint.tree import Decoder, Encoder
from unbroken.errors import CheckpointError
from unbroken.exact.randomness import get_global_state, set_global_state

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


def capture_state(objects: Mapping[str, Holder], copy: bool = True) -> Snapshot:
    """The state of all objects and of the global generators of Python, numpy, torch and the current CUDA device.

    The generators of other CUDA devices are not in it: the rule is one process for each GPU, which is its current
    device. A process that draws numbers on several of them passes a `torch.Generator` for each in `objects`.

    With `copy=False` the tensors are the live ones: only for a caller that is done with them before the next step.

    Raises:
        CheckpointError: A value cannot be stored.
        ValueError: A name is malformed or reserved.
    """
    encoder = Encoder()
    tree: dict[str, JSON] = {}
    for name in sorted(objects):
        if name == RNG or not _NAME.fullmatch(name):
            raise ValueError(f"state may not be called {name!r}: use letters, digits, '_', '.', '-', and not 'rng'")
        tree[name] = encoder.encode(_read_holder(objects[name], name), name)
    tree[RNG] = encoder.encode(get_global_state(), RNG)
    tensors = {name: tensor.detach() if tensor.requires_grad else tensor for name, tensor in encoder.tensors.items()}
    if copy:
        tensors = {name: tensor.to("cpu", copy=True) for name, tensor in tensors.items()}
    return Snapshot(tensors, tree)


def restore_state(snapshot: Snapshot, objects: Mapping[str, Holder], drop: Collection[str] = ()) -> None:
    """Put the state back, the random generators last, and check it: captured again, it must be the same.

    `drop` names objects (or `rng`) that are left as they are: the negative control of `prove`, of no other use.
    The tensors of the snapshot may end up inside the objects: do not use it afterwards.

    Raises:
        CheckpointError: Something, which is named, is unknown, missing, refused, or came back changed.
    """
    expected = snapshot.digests()
    decoder = Decoder(snapshot.tensors)
    states = decoder.decode({"$": "dict", "items": [[k, v] for k, v in _check_branches(snapshot.tree).items()]})
    _check_names(set(states) - {RNG}, set(objects), sorted(decoder.unused))
    for name in sorted(set(objects) - set(drop)):
        _load_holder(objects[name], name, states[name])
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
    return tensors + [f"value {path}" for path in _differing_paths(first, second, "")]


def state_part(place: str) -> str:
    """The object that a place of `compare_states` belongs to."""
    return place.split(" ", 1)[1].split("/", 1)[0].split(" ", 1)[0]


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


def _load_holder(holder: Holder, name: str, state: Any) -> None:
    try:
        if isinstance(holder, torch.Generator):
            holder.set_state(state)
        elif isinstance(holder, np.random.Generator):
            holder.bit_generator.state = state
        elif isinstance(holder, dict):
            holder.clear()
            holder.update(state)
        elif isinstance(holder, Stateful):
            holder.load_state_dict(state)
    except (RuntimeError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"`{name}` refused its stored state: {error} Next: build the same object as when it was stored, or start "
            "in another folder.",
            "objects",
        ) from error
