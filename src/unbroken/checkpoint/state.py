"""What a run is made of at one step: every object with a state, and the global random generators."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from unbroken.canonical_json import JSON, digest_json
from unbroken.checkpoint.differences import (
    ValueDifference,
    compare_states,
    compare_traits,
    compare_values,
    name_places,
    state_part,
)
from unbroken.checkpoint.holders import RNG, Holder, read_holder, unmoved_generators
from unbroken.checkpoint.loading import Loader
from unbroken.checkpoint.structure import find_rigid_parts, is_loaded_by_torch, name_changes, read_structures
from unbroken.checkpoint.tensorfile import digest_tensors, find_equal, tensor_spec
from unbroken.checkpoint.traits import (
    EPOCH,
    TRAITS,
    Kinds,
    LiveState,
    add_carried_gradients,
    check_not_tangled,
    join_traits,
    list_slots,
    merge_traits,
    read_traits,
)
from unbroken.checkpoint.tree import Decoder, Encoder
from unbroken.errors import ArgumentError, CheckpointError, describe_error
from unbroken.exact.randomness import set_global_state
from unbroken.run_numerics import add_unwritten, is_unwritten

__all__ = [
    "RNG",
    "Holder",
    "Snapshot",
    "capture_state",
    "compare_states",
    "digest_state",
    "restore_state",
    "state_part",
]

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]*")


@dataclass(frozen=True)
class Snapshot:
    """`tensors`: name -> tensor. `tree`: everything else, as JSON that refers to the tensors by name."""

    tensors: dict[str, torch.Tensor]
    tree: JSON
    proven: Mapping[str, str] | None = None
    """Digests of the tensors, where these were held against them when they were read or received."""

    def digests(self) -> dict[str, str]:
        """Digest of every tensor: SHA-256 of dtype, shape and bytes."""
        return digest_tensors(self.tensors) if self.proven is None else dict(self.proven)

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

    Reading leaves no trace in the generators, also where an object draws from them while it is read.

    Raises:
        CheckpointError: A value cannot be stored.
        ArgumentError: A name is malformed or reserved.
    """
    with unmoved_generators(objects) as generators:
        encoder, tree = _encode_objects(objects, generators)
    if isinstance(objects, LiveState):
        objects.outgrown = _compare_structure(encoder, objects)
        traits = _traits_from(encoder, objects)
        if objects.gradients:
            add_carried_gradients(traits, objects.gradients)
        if changed := objects.changed_traits(traits, ended):
            check_not_tangled(changed, objects.built or {})
            tree[TRAITS] = encoder.encode(changed, TRAITS)
        if objects.epoch is not None:
            tree[EPOCH] = encoder.encode(objects.epoch, EPOCH)
    tree[RNG] = encoder.encode(generators[RNG], RNG)
    tensors = {name: tensor.detach() if tensor.requires_grad else tensor for name, tensor in encoder.tensors.items()}
    if copy:
        tensors = {name: tensor.to("cpu", copy=True) for name, tensor in tensors.items()}
    return Snapshot(tensors, tree)


def _encode_objects(objects: Mapping[str, Holder], generators: Mapping[str, Any]) -> tuple[Encoder, dict[str, JSON]]:
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
            raise ArgumentError(
                f"state may not be called {name!r}: use letters, digits, '_', '.', '-', first a letter, and not 'rng', "
                "which the global generators have. Next: give it another name in `Run(state={…})`."
            )
        encoder.tracks = isinstance(objects[name], dict)
        tree[name] = _encode_holder(encoder, objects[name], name, generators)
    encoder.tracks = False
    return encoder, tree


def _encode_holder(encoder: Encoder, holder: Holder, name: str, generators: Mapping[str, Any]) -> JSON:
    try:
        return encoder.encode(generators[name] if name in generators else read_holder(holder, name), name)
    except RecursionError:
        raise CheckpointError(
            f"The state {name} contains itself, or is nested too deeply to be stored. Next: keep that out of it."
        ) from None


def _traits_from(encoder: Encoder, objects: Mapping[str, Holder]) -> dict[str, Kinds]:
    return read_traits(objects, encoder.tensors, encoder.arrays, encoder.same)


def _compare_structure(encoder: Encoder, objects: LiveState) -> list[str]:
    """Where modules and optimizers do not have the structure any more with which they were built at this start."""
    built = objects.built_structure
    now = read_structures(objects, encoder.tensors, find_rigid_parts(objects) if built is None else built)
    built = objects.built_structure = now if built is None else built
    return [place for part in sorted(built) for place in name_changes(built[part], now[part])]


def restore_state(snapshot: Snapshot, objects: Mapping[str, Holder], drop: Collection[str] = ()) -> None:
    """Put the state back, the random generators last, and check it: captured again, it must be the same.

    What is in a dict stays the same object wherever it fits, so that an optimizer, say, goes on training it.
    `drop` names objects (or `rng`) that are left as they are: the negative control of `prove`, of no other use.
    The tensors of the snapshot may end up inside the objects: do not use it afterwards. A `LiveState` is told which
    keys its objects have that the snapshot lacks.

    Raises:
        CheckpointError: Something, which is named, is unknown, missing, refused, or came back changed.
    """
    with unmoved_generators(objects) as generators:
        encoder, built_tree = _encode_objects(objects, generators)
    live = _traits_from(encoder, objects)
    if isinstance(objects, LiveState):
        _compare_structure(encoder, objects)
    del encoder  # it has copies of arrays
    built = objects.remember_traits(live) if isinstance(objects, LiveState) else live
    check = _RestoredCheck(snapshot, built_tree, objects)
    branches = dict(_check_branches(snapshot.tree))
    decoder = Decoder(snapshot.tensors)
    changed_traits = decoder.decode(branches.pop(TRAITS, {"$": "dict", "items": []}))
    epoch = decoder.decode(branches.pop(EPOCH, {"$": "dict", "items": []})) or None
    wanted = join_traits({part: merge_traits(built.get(part, {}), changed_traits.get(part, {})) for part in objects})
    if isinstance(objects, LiveState):
        objects.epoch = epoch
        objects.keep_changes(changed_traits)
    decoder.strides = wanted.get("stride", {})
    states = decoder.decode({"$": "dict", "items": [[k, v] for k, v in branches.items()]})
    add_unwritten(states, objects)
    _check_names(set(states) - {RNG}, set(objects), sorted(decoder.unused))
    Loader(decoder.names, wanted, join_traits(live)).load_all(objects, states, drop)
    if isinstance(objects, LiveState) and objects.gradients:
        used = {path: info["optimizers"] for path, info in wanted.get("carried", {}).items()}
        objects.gradients.resume(used, wanted.get("trains", {}))
    if RNG not in drop:
        _restore_generators(states[RNG])
    gained = check.check(decoder.arrays, drop)
    if isinstance(objects, LiveState):
        objects.gained = gained


def _restore_generators(state: dict[str, Any]) -> None:
    try:
        set_global_state(state)
    except (RuntimeError, TypeError, ValueError, KeyError) as error:
        raise CheckpointError(
            f"The random generators could not be restored ({describe_error(error)}). Next: run on the kind of device "
            "that wrote the checkpoint.",
            "rng",
        ) from None


class _RestoredCheck:
    """Holds objects, after they were loaded, against the snapshot that they were loaded from."""

    def __init__(self, snapshot: Snapshot, built_tree: Mapping[str, JSON], objects: Mapping[str, Holder]) -> None:
        """Begin before they are loaded.

        Args:
            snapshot: What is loaded; its tensors may be changed by whoever gets them.
            built_tree: The tree of the objects as the program built them.
            objects: The parts of the state.
        """
        self._snapshot, self._built_tree, self._objects = snapshot, built_tree, objects
        self._digests = snapshot.digests()
        self._versions = {name: _read_version(tensor) for name, tensor in snapshot.tensors.items()}

    def check(self, arrays: Collection[str], drop: Collection[str]) -> list[str]:
        """Compare everything; returns the places of keys that the objects have besides, with values as built.

        Raises:
            CheckpointError: Something came back changed, or not.
        """
        stored, restored = self._snapshot.tree, capture_state(self._objects, copy=False)
        values = [one for one in compare_values(stored, restored.tree) if _part_of(one) not in drop]
        built = [one.path for part in self._objects for one in self._compare_with_built(part, restored.tree)]
        changed = self._changed_tensors(restored, arrays)
        tensors = [f"tensor {name}" for name in changed]
        gained = [one for one in values if one.kind == "gained" and _is_as_built(one, built + changed)]
        others = [place for place in tensors + compare_traits(stored, restored.tree) if state_part(place) not in drop]
        wrong = [one for one in values if one not in gained]
        if wrong or others:
            raise _inexact_error([*others[: len(tensors)], *map(str, wrong), *others[len(tensors) :]], wrong)
        return [one.path for one in gained]

    def _compare_with_built(self, part: str, tree: Any) -> list[ValueDifference]:
        if part not in self._built_tree or part not in tree:  # the numerics are written once they are known
            return [ValueDifference(part, "changed")]
        return compare_values({part: self._built_tree[part]}, {part: tree[part]})

    def _changed_tensors(self, restored: Snapshot, arrays: Collection[str]) -> list[str]:
        stored, live = self._snapshot.tensors, restored.tensors
        alike = {n for n in stored.keys() & live.keys() if tensor_spec(stored[n], n) == tensor_spec(live[n], n)}
        storages = {tensor.untyped_storage().data_ptr() for tensor in stored.values()}
        doubtful = {n: live[n] for n in alike if self._may_be_changed(n, live[n], storages, n in arrays)}
        same = {n for n, digest in digest_tensors(doubtful).items() if digest == self._digests[n]}
        same |= find_equal(alike - doubtful.keys(), stored, live)
        return sorted((stored.keys() | live.keys()) - same)

    def _may_be_changed(self, name: str, live: torch.Tensor, storages: Collection[int], is_array: bool) -> bool:
        """Whether the snapshot's tensor may not be what was read any more, so that only its digest is a witness.

        It may be inside an object by now, or have been changed by its `load_state_dict`, which torch's own code does
        not do: that keeps an optimizer's tensors as they are. Of other changes the version tells, unless they were
        made through an array or `.data`.
        """
        version = self._versions[name]
        holder = self._objects.get(state_part(f"tensor {name}"))
        if version is None or self._snapshot.tensors[name]._version != version:
            return True
        if isinstance(holder, dict | None):
            return live.untyped_storage().data_ptr() in storages
        return is_array or not is_loaded_by_torch(holder)


def _read_version(tensor: torch.Tensor) -> int | None:
    return None if tensor.is_inference() else tensor._version


def _part_of(difference: ValueDifference) -> str:
    return state_part(str(difference))


def _is_as_built(gained: ValueDifference, built: Sequence[str]) -> bool:
    """Whether no difference between the objects as built and as restored lies at that key, above or below it."""
    place = f"{gained.path}/"
    return not any(place.startswith(f"{path}/") or path.startswith(place) for path in built)


def _inexact_error(places: Sequence[str], values: Sequence[ValueDifference]) -> CheckpointError:
    kinds, paths = {one.kind for one in values}, tuple(one.path for one in values)
    if "lost" in kinds:
        advice = "use the version of torch, or of your code, that wrote the checkpoint: it still has what is gone"
    elif kinds == {"gained"} and all(place.partition(" ")[2].startswith(paths) for place in places):
        advice = "use the version of torch, or of your code, that wrote the checkpoint: nobody knows what the new held"
    else:
        advice = (
            "make `load_state_dict` of that object put back all that `state_dict` gives, at once and not when the "
            "object is first used"
        )
    return CheckpointError(
        f"The state did not come back as it was stored: {name_places(places)}. An exact resume is impossible. "
        f"Next: {advice}.",
        "inexact",
    )


def _check_branches(tree: JSON) -> Mapping[str, JSON]:
    if not isinstance(tree, dict) or RNG not in tree:
        raise CheckpointError("The state tree has no branch for the random generators.", "tree")
    return tree


def _check_names(stored: set[str], wanted: set[str], unused: list[str]) -> None:
    unknown, missing = sorted(stored - wanted), sorted(wanted - stored)
    if unknown or missing or unused:
        parts = [
            f"it holds {name_places(unknown)}, which this run does not have" if unknown else "",
            f"it lacks {name_places(missing)}, which this run needs" if missing else "",
            f"nothing refers to its tensors {name_places(unused)}" if unused else "",
        ]
        raise CheckpointError(
            f"The checkpoint does not fit the objects of this run: {'; '.join(filter(None, parts))}. "
            f"Next: pass the same `state`, or start in another folder.",
            "objects",
        )
