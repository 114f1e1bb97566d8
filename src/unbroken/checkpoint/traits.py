"""What the values of a state do not say: which tensors are trained, how they lie in memory, which are one object.

A program builds its objects alike at every start, so only what has changed since is stored, in a branch of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from unbroken.canonical_json import JSON
from unbroken.checkpoint.aliases import Region, find_aliases, find_crowded
from unbroken.checkpoint.gradients import GradientWatch, list_parameters
from unbroken.checkpoint.holders import is_of_torch
from unbroken.errors import CheckpointError

TRAITS = "$traits"
"""The branch of the tree: part of the state -> kind -> path -> value, where it is not as built."""

EPOCH = "$epoch"
"""The branch of the tree that holds `LiveState.epoch`, where there is one."""

Kinds = dict[str, dict[str, Any]]
"""Kind -> path -> value. A path without a value has the usual one, None: as built anew from the values alone.

`frozen` (a parameter is not trained), `requires_grad` (a tensor in a dict is), `parameter`, `eval` (a module is in
evaluation mode; the path of a part: all of it), `stride` (of a tensor whose dimensions lie in another order), `device`
(its type), `same` (the path of the same object), `trains` (the path of what an optimizer trains), `view` (its base,
offset and stride), `tangled` (the path of what it has bytes of, where no base has them all: as built, or refused),
`grad` (left in a frozen tensor: an optimizer uses it; or carried over the end of a step), `carried` (of such a gradient
its stride, and which `optimizers` have used it)."""

_WHOLE = {"grad", "carried"}
"""Kinds that are stored as they are, however the program has built it."""

_IN_LOOP = "changed in the loop"
"""In the place of a value that the program built otherwise at an earlier start: equal to none."""

_Slot = tuple[str, torch.nn.Module, dict[str, torch.Tensor | None], str]


class LiveState(dict[str, Any]):
    """The objects of a run, and the traits with which they were built at this start."""

    built: dict[str, Kinds] | None = None
    built_structure: dict[str, dict[str, tuple[int, ...]]] | None = None
    """Part -> its structure when the program had built it (`unbroken.checkpoint.structure`)."""
    outgrown: Sequence[str] = ()
    """Places at which the structure was another one in the last save."""
    gained: Sequence[str] = ()
    """Places of keys that the objects have and the restored checkpoint lacked; their values are as built."""
    epoch: dict[str, Any] | None = None
    """What is known of the present epoch, in a loop over epochs: its number, the step before its first, and where the
    generators stood when its batches began, once they have."""
    gradients: GradientWatch | None = None
    """Knows which gradients belong to the state of a run."""

    def changed_traits(self, traits: dict[str, Kinds], ended: bool = False) -> dict[str, Kinds]:
        """Those that are not as built; the first call says how they were built.

        When the loop has `ended`, a module that is all in evaluation mode was just evaluated: that is no result.
        """
        built = self.remember_traits(traits)
        parts = {part: _changed_kinds(built.get(part, {}), kinds) for part, kinds in traits.items()}
        for part, kinds in parts.items():
            if ended and part in traits[part].get("eval", {}):
                kinds.pop("eval", None)
        return {part: kinds for part, kinds in parts.items() if kinds}

    def remember_traits(self, traits: dict[str, Kinds]) -> dict[str, Kinds]:
        """How the objects were built: as they are now, in the first call."""
        if self.built is None:
            self.built = traits
        return self.built

    def keep_changes(self, changed: Mapping[str, Kinds]) -> None:
        """What a checkpoint has as changed stays so, also where the program has built it like that at this start."""
        for part, kinds in changed.items():
            for kind, paths in kinds.items():
                built = (self.built or {}).get(part, {}).setdefault(kind, {})
                built.update({path: _IN_LOOP for path, value in paths.items() if built.get(path) == value})


def _changed_kinds(built: Kinds, kinds: Kinds) -> Kinds:
    changed: Kinds = {}
    for kind in sorted(built.keys() | kinds.keys()):
        before, now = built.get(kind, {}), kinds.get(kind, {})
        if kind in _WHOLE:
            paths = sorted(now)
        else:
            paths = [path for path in sorted(before.keys() | now.keys()) if before.get(path) != now.get(path)]
        if paths:
            changed[kind] = {path: now.get(path) for path in paths}
    return changed


def check_not_tangled(changed: Mapping[str, Kinds], built: Mapping[str, Kinds]) -> None:
    """Refuse memory that values have in common otherwise than when the program built them, and that nobody holds whole.

    Raises:
        CheckpointError: There is some; it is named.
    """
    for part, kinds in changed.items():
        for name, other in kinds.get("tangled", {}).items():
            other = other or built.get(part, {}).get("tangled", {}).get(name)
            raise CheckpointError(
                f"{name} and {other} have memory in common since a step of the loop, or no more since then, and no "
                f"part of the state holds all of it: a resume could not make that so again. Next: put the tensor or "
                f"array that both are parts of into the state, too; or give one of them its own memory with clone()."
            )


def join_path(path: str, key: object) -> str:
    """The path of what stands under a key of a mapping."""
    try:
        return f"{path}/{key}"
    except ValueError:  # it is, or has, a number of more digits than Python prints
        return f"{path}/{type(key).__name__}"


def merge_traits(built: Kinds, changed: Kinds) -> Kinds:
    """Those of a checkpoint: as built here, but for what it says."""
    built = {kind: paths for kind, paths in built.items() if kind not in _WHOLE}
    return {kind: {**built.get(kind, {}), **changed.get(kind, {})} for kind in built.keys() | changed.keys()}


def join_traits(parts: Mapping[str, Kinds]) -> Kinds:
    """Those of all parts together: every path begins with its part."""
    joined: Kinds = {}
    for kinds in parts.values():
        for kind, paths in kinds.items():
            joined.setdefault(kind, {}).update(paths)
    return joined


def flatten_traits(tree: JSON) -> dict[str, JSON]:
    """The branch as `path kind` -> value."""
    branch = tree.get(TRAITS) if isinstance(tree, dict) else None
    return {
        f"{path} {kind}": value
        for _, kinds in _pairs_of(branch)
        for kind, paths in _pairs_of(kinds)
        for path, value in _pairs_of(paths)
        if kind != "grad"  # compared as tensors
    }


def _pairs_of(encoded: Any) -> Sequence[tuple[str, Any]]:
    return encoded["items"] if encoded else ()


def read_traits(
    objects: Mapping[str, object],
    tensors: Mapping[str, torch.Tensor],
    arrays: Mapping[str, np.ndarray[Any, Any]],
    same: Mapping[str, str],
) -> dict[str, Kinds]:
    """Part -> all traits of the objects as they are now.

    Args:
        objects: The parts of the state.
        tensors: Name -> live tensor, of all parts; of an array, its copy.
        arrays: Name -> live array, of the dicts and others.
        same: Path -> path before it where the same object stands, of the dicts.
    """
    traits: dict[str, Kinds] = {part: {} for part in objects}
    seen: dict[int, str] = {}
    for part, holder in objects.items():
        if isinstance(holder, torch.nn.Module):
            _read_module(traits[part], holder, part, seen)
    for part, members in _group_by_part(objects, {**tensors, **arrays}):
        _read_strides(traits[part], members)
        if isinstance(objects[part], dict):
            _read_members(traits[part], {n: t for n, t in members.items() if isinstance(t, torch.Tensor)}, seen)
    values = {**tensors, **arrays}
    aliases, tangled = find_aliases(_list_regions(objects, values, same))
    for name, alias in aliases.items():
        _set(traits[part_of(name)], "view", name, alias)
    for name, other in tangled.items():
        _set(traits[part_of(name)], "tangled", name, other)
    for path, first in same.items():
        _set(traits[path.split("/", 1)[0]], "same", path, first)
    for part, holder in objects.items():
        if isinstance(holder, torch.optim.Optimizer):
            _read_parameters(traits[part], holder, part, seen)
    return traits


def add_carried_gradients(traits: Mapping[str, Kinds], gradients: GradientWatch) -> None:
    """Add the gradients that are carried over the end of a step to the traits of those who hold their parameters.

    Raises:
        CheckpointError: One of them is sparse.
    """
    for part, path, gradient, is_used in gradients.carried():
        place = traits[part].get("trains", {}).get(path, path)
        if gradient.layout != torch.strided:
            raise CheckpointError(
                f"The step ends with a gradient of {place} that {gradients.name_user(part)} has not used, of layout "
                f"{gradient.layout}, expected a dense one: only that can be stored. Next: let it be used, or set it to "
                "zero, in each step of the run."
            )
        kinds = traits[part_of(place)]
        _set(kinds, "grad", place, gradient)
        info = kinds.setdefault("carried", {}).setdefault(place, {"optimizers": {}, "stride": read_stride(gradient)})
        info["optimizers"][part] = is_used


def part_of(name: str) -> str:
    """The part of the state that a tensor or array of this name belongs to."""
    return name.split("/", 1)[0].split("~", 1)[0]


def _list_regions(objects: Mapping[str, object], values: Mapping[str, Any], same: Mapping[str, str]) -> list[Region]:
    """What modules hold comes first, and what is in dicts last: that is laid into the memory of the others."""
    crowded = find_crowded(values)
    parts = {part: objects[part] for part in map(part_of, crowded)}
    slots = list_slot_values(parts)
    first = {id(tensor): path for path, tensor in reversed(slots.items())}
    regions = []
    for name in crowded:
        holder, slot = parts[part_of(name)], slots.get(name)
        if slot is not None and first[id(slot)] == name:
            regions.append(Region(name, slot, 0))
        elif is_movable(holder) and name not in same:
            regions.append(Region(name, values[name], 3 if isinstance(holder, dict) else 2))
        elif slot is None and name not in same:
            regions.append(Region(name, values[name], 1, can_move=False))
    return regions


def is_movable(holder: object) -> bool:
    """Whether the values that it gives are those that it has, so that they can be laid into other memory."""
    return isinstance(holder, dict) or (isinstance(holder, torch.optim.Optimizer) and is_of_torch(holder, "state_dict"))


def _group_by_part(objects: Mapping[str, object], values: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    members: dict[str, dict[str, Any]] = {}
    for name, tensor in values.items():
        members.setdefault(part_of(name), {})[name] = tensor
    for part, holder in objects.items():
        if isinstance(holder, dict | torch.nn.Module | torch.optim.Optimizer):
            yield part, members.get(part, {})


def _set(kinds: Kinds, kind: str, path: str, value: Any) -> None:
    kinds.setdefault(kind, {})[path] = value


def _read_strides(kinds: Kinds, members: Mapping[str, Any]) -> None:
    for name, value in members.items():
        stride = read_stride(value) if isinstance(value, torch.Tensor) else read_array_stride(value)
        if stride is not None:
            _set(kinds, "stride", name, stride)


def _read_members(kinds: Kinds, members: Mapping[str, torch.Tensor], seen: dict[int, str]) -> None:
    for name, tensor in members.items():
        _read_member(kinds, name, tensor)
        seen.setdefault(id(tensor), name)


def _read_member(kinds: Kinds, name: str, tensor: torch.Tensor) -> None:
    if tensor.requires_grad and tensor.is_leaf:
        _set(kinds, "requires_grad", name, True)
    if type(tensor) is not torch.Tensor and isinstance(tensor, torch.nn.Parameter):
        _set(kinds, "parameter", name, True)
    if not tensor.is_cpu:
        _set(kinds, "device", name, tensor.device.type)
    _read_grad(kinds, name, tensor)


def _read_grad(kinds: Kinds, path: str, tensor: torch.Tensor) -> None:
    if tensor.is_leaf and not tensor.requires_grad and tensor.grad is not None:
        _set(kinds, "grad", path, tensor.grad)


def _read_module(kinds: Kinds, module: torch.nn.Module, part: str, seen: dict[int, str]) -> None:
    modes = {prefix: child.training for prefix, child in module.named_modules()}
    paths = [f"{part}/{prefix}" for prefix, trains in modes.items() if not trains] if any(modes.values()) else [part]
    for path in paths:
        _set(kinds, "eval", path, True)
    first: dict[int, str] = {}
    for path, child, slots, key in list_slots(module, part):
        tensor = slots[key]
        if tensor is None:
            continue
        if id(tensor) in first:
            _set(kinds, "same", path, first[id(tensor)])
        elif slots is child._parameters:
            _read_parameter(kinds, path, tensor)
        first.setdefault(id(tensor), path)
        seen.setdefault(id(tensor), path)


def _read_parameters(kinds: Kinds, optimizer: torch.optim.Optimizer, part: str, seen: dict[int, str]) -> None:
    for path, parameter in list_parameters(optimizer, part):
        if id(parameter) in seen:
            _set(kinds, "trains", path, seen[id(parameter)])
        else:
            _read_parameter(kinds, path, parameter)


def _read_parameter(kinds: Kinds, path: str, parameter: torch.Tensor) -> None:
    if not parameter.requires_grad:
        _set(kinds, "frozen", path, True)
    _read_grad(kinds, path, parameter)


def list_slots(module: torch.nn.Module, part: str) -> Iterator[_Slot]:
    """Path, module, its parameters or buffers, and the key there, of everything that a module holds."""
    for prefix, child in module.named_modules():
        for slots in (child._parameters, child._buffers):
            for key in slots:
                yield f"{part}/{prefix}.{key}" if prefix else f"{part}/{key}", child, slots, key


def list_slot_values(objects: Mapping[str, object]) -> dict[str, torch.Tensor | None]:
    """Path and value of all that the modules among the parts hold."""
    modules = [(part, holder) for part, holder in objects.items() if isinstance(holder, torch.nn.Module)]
    return {path: places[key] for part, module in modules for path, _, places, key in list_slots(module, part)}


def read_stride(tensor: torch.Tensor) -> list[int] | None:
    """Strides of a tensor that is dense, but with its dimensions in another order, such as channels_last."""
    if tensor.is_contiguous():
        return None
    expected = 1
    for stride, size in sorted(zip(tensor.stride(), tensor.shape, strict=True)):
        if size != 1 and stride != expected:
            return None
        expected *= size
    return list(tensor.stride())


def lay_out(tensor: torch.Tensor, stride: Sequence[int] | None) -> torch.Tensor:
    """The same values with these strides; None: contiguous."""
    if stride is None:
        return tensor.contiguous()
    return torch.empty_strided(tensor.shape, tuple(stride), dtype=tensor.dtype, device=tensor.device).copy_(tensor)


def read_array_stride(array: np.ndarray[Any, Any]) -> list[int] | None:
    """As `read_stride`."""
    if array.flags.c_contiguous or not array.flags.writeable:
        return None
    try:
        return read_stride(torch.from_numpy(array))
    except (TypeError, ValueError):  # negative strides, which a copy does not have
        return None
