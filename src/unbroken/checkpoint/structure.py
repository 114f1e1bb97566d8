"""Which tensors a module has and what an optimizer trains: only into the same can stored values be put back.

A loop may change that in a step (`add_param_group`, `Sequential.append`). The program builds it anew at each start, so
what is built there must have the structure that was stored.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch

from unbroken.checkpoint.holders import is_of_torch

Structure = dict[str, tuple[int, ...]]
"""Place -> shape of a tensor of a module, or number of parameters in each group of an optimizer."""

_GROUPS = "param_groups"
_OPEN_ENDED = "_extra_state"  # a module may put there what it likes


def find_rigid_parts(objects: Mapping[str, object]) -> list[str]:
    """The modules and optimizers that torch's own code restores, which refuses another structure."""
    kinds = (torch.nn.Module, torch.optim.Optimizer)
    return [part for part, holder in objects.items() if isinstance(holder, kinds) and is_loaded_by_torch(holder)]


def read_structures(
    objects: Mapping[str, object], tensors: Mapping[str, torch.Tensor], parts: Collection[str]
) -> dict[str, Structure]:
    """Part -> its structure now.

    Args:
        objects: The parts of the state.
        tensors: Name -> live tensor, of all parts.
        parts: Those of `find_rigid_parts`.
    """
    structures: dict[str, Structure] = {part: {} for part in parts}
    for name, tensor in tensors.items():
        part = name.split("/", 1)[0]
        if part in structures and isinstance(objects[part], torch.nn.Module) and _OPEN_ENDED not in name:
            structures[part][name] = tuple(tensor.shape)
    for part in parts:
        if isinstance(holder := objects[part], torch.optim.Optimizer):
            structures[part] = _structure_of_groups(part, holder.param_groups)
    return structures


def name_misfits(holder: object, part: str, stored: Any) -> list[str]:
    """Where the stored state of a module or an optimizer has another structure than the object that is there."""
    if not is_loaded_by_torch(holder) or not isinstance(stored, Mapping):
        return []
    if isinstance(holder, torch.nn.Module):
        return name_changes(_structure_of_tensors(part, stored), _structure_of_tensors(part, holder.state_dict()))
    groups = getattr(holder, _GROUPS, [])
    return name_changes(_structure_of_groups(part, stored.get(_GROUPS, [])), _structure_of_groups(part, groups))


def name_changes(first: Structure, second: Structure) -> list[str]:
    """`model/0.weight (2 x 1 and 3 x 1)`, for each place at which two structures differ."""
    return [
        f"{place} ({_describe(place, first)} and {_describe(place, second)})"
        for place in sorted(first.keys() | second.keys())
        if first.get(place) != second.get(place)
    ]


def _describe(place: str, structure: Structure) -> str:
    if place not in structure:
        return "nothing"
    numbers = list(map(str, structure[place]))
    if place.endswith(f"/{_GROUPS}"):
        return f"groups of {' + '.join(numbers)} parameters"
    return " x ".join(numbers) or "a number"


def _structure_of_tensors(part: str, state: Mapping[str, Any]) -> Structure:
    return {
        f"{part}/{key}": tuple(value.shape)
        for key, value in state.items()
        if isinstance(value, torch.Tensor) and _OPEN_ENDED not in key
    }


def _structure_of_groups(part: str, groups: Sequence[Mapping[str, Any]]) -> Structure:
    return {f"{part}/{_GROUPS}": tuple(len(group["params"]) for group in groups)}


def is_loaded_by_torch(holder: object) -> bool:
    """Whether a module or an optimizer is loaded by torch's own code alone, without hooks or methods of yours."""
    if isinstance(holder, torch.nn.Module):
        return is_of_torch(holder, "load_state_dict") and all(
            is_of_torch(child, "_load_from_state_dict")
            and not (child._load_state_dict_pre_hooks or child._load_state_dict_post_hooks)
            for child in holder.modules()
        )
    return (
        isinstance(holder, torch.optim.Optimizer)
        and is_of_torch(holder, "load_state_dict")
        and is_of_torch(holder, "__setstate__")
        and not (holder._optimizer_load_state_dict_pre_hooks or holder._optimizer_load_state_dict_post_hooks)
    )
