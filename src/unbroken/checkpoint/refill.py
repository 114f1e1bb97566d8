"""Stored values go into the objects that are there: whoever else holds one of those objects sees them too."""

from __future__ import annotations

from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from unbroken.checkpoint.gradients import list_parameters
from unbroken.checkpoint.traits import (
    Kinds,
    join_path,
    lay_out,
    list_slots,
    read_array_stride,
    read_stride,
)

_MAPPINGS = (dict, OrderedDict, Counter, defaultdict)


class Refiller:
    """Refills one dict. Tensors and arrays are copied into where dtype, shape and traits fit, containers refilled."""

    def __init__(self, names: Mapping[int, str], wanted: Kinds, live: Kinds) -> None:
        """Begin with nothing refilled.

        Args:
            names: Id of a stored tensor or array -> its name in the checkpoint.
            wanted: The traits of the checkpoint.
            live: The traits of what is there.
        """
        self._names, self._wanted, self._live = names, wanted, live
        self._done: dict[str, Any] = {}
        self._used: set[int] = set()
        self.moved: set[str] = set()
        """Names of tensors and arrays that are to be laid into the memory of others, once all are there."""

    def refill(self, live: Any, stored: Any, path: str) -> Any:
        """What stands at a path from now on: `live` where that is possible."""
        path = self._names.get(id(stored), path)
        first = self._wanted_trait("same", path)
        if first in self._done:
            return self._done[first]
        if id(live) in self._used:
            live = None  # two paths had one object, and are two objects in the checkpoint
        result = self._refill_kind(live, stored, path)
        if isinstance(result, torch.Tensor | np.ndarray | list | deque | dict | set):
            self._done[path] = result
            self._used.add(id(result))
        return result

    def add_module(self, module: torch.nn.Module, part: str) -> None:
        """Parameters and buffers of a module, which a dict may hold too; the module restores them by itself."""
        for path, _, slots, key in list_slots(module, part):
            if slots[key] is not None:
                self._done.setdefault(path, slots[key])
                self._used.add(id(slots[key]))

    def assign_parameters(self, optimizer: torch.optim.Optimizer, part: str) -> None:
        """Before `load_state_dict`: let it train what it trained in the loop, be that in the state any more or not."""
        for number, group in enumerate(optimizer.param_groups):
            for index, parameter in enumerate(group["params"]):
                path = f"{part}/param_groups/{number}/params/{index}"
                wanted = self._wanted_trait("trains", path)
                if wanted != self._live.get("trains", {}).get(path):
                    lost = torch.nn.Parameter(parameter.detach().clone(), parameter.requires_grad)
                    group["params"][index] = self._done.get(wanted, lost)

    def _wanted_trait(self, kind: str, path: str) -> Any:
        return self._wanted.get(kind, {}).get(path)

    def _refill_kind(self, live: Any, stored: Any, path: str) -> Any:
        if isinstance(stored, torch.Tensor):
            return self._refill_tensor(live, stored, path)
        if isinstance(stored, np.ma.MaskedArray):
            return _refill_masked(live, stored)
        if isinstance(stored, np.ndarray):
            return self._refill_array(live, stored, path)
        if isinstance(stored, dict):
            return self._refill_mapping(live, stored, path)
        if isinstance(stored, list | deque | tuple):
            return self._refill_sequence(live, stored, path)
        if type(stored) is set and type(live) is set:
            live.clear()
            live.update(stored)
            return live
        return stored

    def _refill_mapping(self, live: Any, stored: dict[Any, Any], path: str) -> Any:
        old = dict(live) if isinstance(live, dict) else {}
        items = [(key, self.refill(old.get(key), value, join_path(path, key))) for key, value in stored.items()]
        fits = type(live) is type(stored) and getattr(live, "default_factory", None) is _factory_of(stored)
        target = live if fits else stored
        target.clear()
        for key, value in items:
            target[key] = value
        return target

    def _refill_sequence(self, live: Any, stored: Any, path: str) -> Any:
        old = list(live) if isinstance(live, list | deque | tuple) else []
        old += [None] * (len(stored) - len(old))
        items = [
            self.refill(before, value, f"{path}/{index}")
            for index, (before, value) in enumerate(zip(old, stored, strict=False))
        ]
        if isinstance(stored, tuple):
            unmoved = type(live) is type(stored) and len(live) == len(items) and all(map(_is_same, live, items))
            return live if unmoved else type(stored)(items)
        target = live if type(live) is type(stored) and _maxlen_of(live) == _maxlen_of(stored) else stored
        target.clear()
        target.extend(items)
        return target

    def _refill_tensor(self, live: Any, stored: torch.Tensor, name: str) -> torch.Tensor:
        if self._fits_tensor(live, stored, name):
            with torch.no_grad():
                live.copy_(stored)
        else:
            live = self._new_tensor(stored, name)
        wanted = bool(self._wanted_trait("requires_grad", name))
        if live.is_leaf and live.requires_grad != wanted:
            live.requires_grad_(wanted)
        return restore_grad(live, self._wanted, name)

    def _fits_tensor(self, live: Any, stored: torch.Tensor, name: str) -> bool:
        return (
            isinstance(live, torch.Tensor)
            and (live.dtype, live.shape) == (stored.dtype, stored.shape)
            and live.device.type == (self._wanted_trait("device", name) or "cpu")
            and read_stride(live) == self._wanted_trait("stride", name)
            and self._live.get("view", {}).get(name) == self._wanted_trait("view", name)
            and isinstance(live, torch.nn.Parameter) == bool(self._wanted_trait("parameter", name))
            and not live.is_inference()
            and all(stride or size == 1 for stride, size in zip(live.stride(), live.shape, strict=True))
        )

    def _new_tensor(self, stored: torch.Tensor, name: str) -> torch.Tensor:
        made = stored.to(self._wanted_trait("device", name) or "cpu")
        if self._wanted_trait("parameter", name):
            made = torch.nn.Parameter(made, requires_grad=False)
        if self._wanted_trait("view", name):
            self.moved.add(name)
        return made

    def _refill_array(self, live: Any, stored: np.ndarray[Any, Any], name: str) -> np.ndarray[Any, Any]:
        view = self._wanted_trait("view", name)
        fits = _fits_array(live, stored) and read_array_stride(live) == self._wanted_trait("stride", name)
        if not fits or self._live.get("view", {}).get(name) != view:
            if view:
                self.moved.add(name)
            return stored
        live[...] = stored
        return live  # type: ignore[no-any-return]  # _fits_array has looked


def _is_same(first: object, second: object) -> bool:
    return first is second


def _factory_of(mapping: Any) -> Any:
    return getattr(mapping, "default_factory", None)


def _maxlen_of(sequence: Any) -> int | None:
    return sequence.maxlen if isinstance(sequence, deque) else None


def _fits_array(live: Any, stored: np.ndarray[Any, Any]) -> bool:
    return (
        isinstance(live, np.ndarray)
        and isinstance(live, np.ma.MaskedArray) == isinstance(stored, np.ma.MaskedArray)
        and (live.dtype, live.shape) == (stored.dtype, stored.shape)
        and live.flags.writeable
    )


def _refill_masked(live: Any, stored: np.ma.MaskedArray[Any, Any]) -> Any:
    if not _fits_array(live, stored) or (live.mask is np.ma.nomask) != (stored.mask is np.ma.nomask):
        return stored
    np.ma.getdata(live)[...] = np.ma.getdata(stored)
    live.soften_mask()  # a hard one cannot be taken off an element
    if live.mask is not np.ma.nomask:
        live.mask = stored.mask
    live.fill_value = stored.fill_value
    if stored.hardmask:
        live.harden_mask()
    return live


def restore_grad(tensor: torch.Tensor, wanted: Kinds, path: str) -> torch.Tensor:
    """Give a tensor the gradient that was left in it or is carried; returns the tensor."""
    grad = wanted.get("grad", {}).get(path)
    if grad is not None:
        stride = wanted.get("carried", {}).get(path, {}).get("stride")
        tensor.grad = lay_out(grad.to(tensor.device), stride)
    return tensor


def shape_module(module: torch.nn.Module, part: str, wanted: Kinds, live: Kinds) -> None:
    """Before `load_state_dict`: tie and untie parameters, and lay them out, as they were in the loop."""
    slots = {path: (slots, key) for path, _, slots, key in list_slots(module, part)}
    for path, (place, key) in slots.items():
        tensor, same = place[key], wanted.get("same", {}).get(path)
        if tensor is None:
            continue
        if same != live.get("same", {}).get(path):
            first, first_key = slots[same] if same else (place, key)
            place[key] = first[first_key] if same else torch.nn.Parameter(tensor.detach().clone())
        elif live.get("view", {}).get(path) != wanted.get("view", {}).get(path):
            tensor.data = tensor.data.clone()
        elif read_stride(tensor) != (stride := wanted.get("stride", {}).get(path)):
            tensor.data = lay_out(tensor.data, stride)


def restore_module_traits(module: torch.nn.Module, part: str, wanted: Kinds) -> None:
    """After `load_state_dict`: which parameters are trained, which modules are in evaluation mode."""
    for prefix, child in module.named_modules():
        modes = wanted.get("eval", {})
        child.training = not (modes.get(part) or modes.get(f"{part}/{prefix}"))
    first: set[int] = set()
    for path, child, slots, key in list_slots(module, part):
        tensor = slots[key]
        if tensor is not None and slots is not child._buffers and id(tensor) not in first:
            first.add(id(tensor))
            _freeze(tensor, path, wanted)


def restore_parameter_traits(optimizer: torch.optim.Optimizer, part: str, wanted: Kinds, live: Kinds) -> None:
    """After `load_state_dict`: which parameters are trained, of those that are in no module of the state."""
    named = wanted.get("frozen", {}).keys() | live.get("frozen", {}).keys() | wanted.get("grad", {}).keys()
    for path, parameter in list_parameters(optimizer, part):
        if path in named:
            _freeze(parameter, path, wanted)


def _freeze(parameter: torch.Tensor, path: str, wanted: Kinds) -> None:
    trained = not wanted.get("frozen", {}).get(path)
    if parameter.requires_grad != trained:
        parameter.requires_grad_(trained)
    restore_grad(parameter, wanted, path)


def restore_dtypes(optimizer: torch.optim.Optimizer, stored: Mapping[str, Any]) -> None:
    """After `load_state_dict`, which gives all that an optimizer keeps of a parameter the dtype of that parameter.

    Weights of full precision beside parameters of half, say, would be rounded.
    """
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    numbers = [number for group in stored["param_groups"] for number in group["params"]]
    for number, parameter in zip(numbers, parameters, strict=True):
        if number in stored["state"] and parameter in optimizer.state:
            optimizer.state[parameter] = _uncast(optimizer.state[parameter], stored["state"][number])


def _uncast(loaded: Any, stored: Any) -> Any:
    if isinstance(loaded, torch.Tensor) and isinstance(stored, torch.Tensor):
        return loaded if loaded.dtype == stored.dtype else stored.to(loaded.device)
    if isinstance(loaded, dict) and isinstance(stored, Mapping):
        for key in loaded.keys() & stored.keys():
            loaded[key] = _uncast(loaded[key], stored[key])
    elif isinstance(loaded, list | tuple) and type(loaded) is type(stored) and len(loaded) == len(stored):
        return type(loaded)(map(_uncast, loaded, stored))
    return loaded
