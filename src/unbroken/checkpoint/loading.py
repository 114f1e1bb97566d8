"""Stored values go into the objects of a run: what must be there before, the values, what values do not say."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from unbroken.checkpoint.aliases import lay_out_alias, replace_members
from unbroken.checkpoint.differences import name_places
from unbroken.checkpoint.holders import Holder, Stateful, is_generator, read_holder, set_generator
from unbroken.checkpoint.refill import (
    Refiller,
    restore_dtypes,
    restore_module_traits,
    restore_parameter_traits,
    shape_module,
)
from unbroken.checkpoint.structure import name_misfits
from unbroken.checkpoint.traits import Kinds, list_slot_values, part_of
from unbroken.checkpoint.tree import Encoder
from unbroken.errors import CheckpointError, UnbrokenError, shorten_text

_LONGEST_REASON = 300


class Loader:
    """Puts stored values into holders, and then what values do not say."""

    def __init__(self, names: Mapping[int, str], wanted: Kinds, live: Kinds) -> None:
        """The arguments are those of `Refiller`."""
        self._wanted, self._live = wanted, live
        self._refiller = Refiller(names, wanted, live)

    def load_all(self, objects: Mapping[str, Holder], states: Mapping[str, Any], drop: Collection[str] = ()) -> None:
        """Put the states back; generators last, since others may draw from them while they are loaded.

        `drop`: what is left as it is.

        Raises:
            CheckpointError: An object refuses its own.
        """
        everything, objects = objects, {name: objects[name] for name in objects if name not in drop}
        for name in sorted(objects):
            self._attempt(name, partial(self._prepare, objects[name], name))
        for name in sorted(objects, key=lambda name: (isinstance(objects[name], torch.optim.Optimizer), name)):
            self._attempt(name, partial(self._load, objects[name], name, states[name]))
        for name in sorted(objects):
            self._attempt(name, partial(self._finish, objects[name], name))
        self._attempt("state", partial(self._share_memory, everything, objects))
        for name in filter(lambda name: is_generator(objects[name]), sorted(objects)):
            self._attempt(name, partial(set_generator, objects[name], states[name]))

    def _share_memory(self, everything: Mapping[str, Holder], objects: Mapping[str, Holder]) -> None:
        """Lay tensors and arrays into the memory of others where they were in the loop, and are not now."""
        views, built = self._wanted.get("view", {}), self._live.get("view", {})
        for name, view in views.items():
            holder = objects.get(part_of(name))
            if isinstance(holder, torch.optim.Optimizer) or (
                isinstance(holder, torch.nn.Module) and built.get(name) != view
            ):
                self._refiller.moved.add(name)
        if not (moved := self._refiller.moved):
            return
        values = read_members(everything, {part_of(name) for name in [*moved, *(views[name][0] for name in moved)]})
        arrays: dict[int, Any] = {}
        for name in sorted(moved):
            base, offset, strides = views[name]
            laid = lay_out_alias(values[name], values[base], offset, strides)
            if isinstance(laid, torch.Tensor):
                values[name].data = laid
            else:
                arrays[id(values[name])] = laid
        for holder in objects.values() if arrays else ():
            if isinstance(holder, dict):
                replace_members(holder, arrays)

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
        if isinstance(holder, dict):
            self._load_dict(holder, name, state)
        elif isinstance(holder, Stateful) and not is_generator(holder):
            if isinstance(holder, torch.optim.Optimizer):
                self._refiller.assign_parameters(holder, name)
            try:
                holder.load_state_dict(state)
                if isinstance(holder, torch.optim.Optimizer):
                    restore_dtypes(holder, state)
            except UnbrokenError:
                raise
            except Exception as error:
                raise _refusal(name, error, name_misfits(holder, name, state)) from None

    def _load_dict(self, holder: dict[str, Any], name: str, state: Any) -> None:
        refilled = self._refiller.refill(holder, state, name)
        if refilled is not holder:  # of another type, which the comparison will name
            holder.clear()
            holder.update(refilled)

    @staticmethod
    def _attempt(name: str, action: Callable[[], None]) -> None:
        try:
            action()
        except UnbrokenError:
            raise
        except Exception as error:  # what an object says to a state that is not its own may be anything
            raise _refusal(name, error) from None


def read_members(objects: Mapping[str, Holder], parts: Collection[str]) -> dict[str, Any]:
    """Name -> live tensor or array, of these parts."""
    encoder = Encoder()
    for part in sorted(parts):
        encoder.encode(read_holder(objects[part], part), part)
    return {**encoder.tensors, **encoder.arrays, **list_slot_values({part: objects[part] for part in parts})}


def _refusal(name: str, error: Exception, misfits: Sequence[str] = ()) -> CheckpointError:
    reason = _describe_refusal(error, _LONGEST_REASON // 3 if misfits else _LONGEST_REASON)
    found = f" Stored and built differ at {name_places(misfits)}." if misfits else ""
    where = " (`Run.peek(folder).step`, where the loop changes it)" if misfits else ""
    return CheckpointError(
        f"`{name}` refused its stored state: {reason}{found} Next: build the same object as when it was stored{where}, "
        "or start in another folder.",
        "objects",
    )


def _describe_refusal(error: Exception, width: int) -> str:
    frame = traceback.extract_tb(error.__traceback__)[-1]
    reason = shorten_text(str(error) or "no reason given", width).rstrip(".")
    return f"{reason} ({type(error).__name__} in {Path(frame.filename).name}, line {frame.lineno})."
