"""Stored values go into the objects of a run: what must be there before, the values, what values do not say."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch

from unbroken.checkpoint.holders import Holder, Stateful, is_generator, is_of_torch, set_generator
from unbroken.checkpoint.refill import Refiller, restore_module_traits, restore_parameter_traits, shape_module
from unbroken.checkpoint.traits import Kinds
from unbroken.errors import CheckpointError, UnbrokenError, shorten_text

_LONGEST_REASON = 300


class Loader:
    """Puts stored values into holders, and then what values do not say."""

    def __init__(self, names: Mapping[int, str], wanted: Kinds, live: Kinds) -> None:
        """The arguments are those of `Refiller`."""
        self._wanted, self._live = wanted, live
        self._refiller = Refiller(names, wanted, live)

    def load_all(self, objects: Mapping[str, Holder], states: Mapping[str, Any]) -> None:
        """Put the states back; generators last, since others may draw from them while they are loaded.

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
        for name in filter(lambda name: is_generator(objects[name]), sorted(objects)):
            self._attempt(name, partial(set_generator, objects[name], states[name]))

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
        except UnbrokenError:
            raise
        except Exception as error:  # what an object says to a state that is not its own may be anything
            raise CheckpointError(
                f"`{name}` refused its stored state: {_describe_refusal(error)} Next: build the same object as when "
                "it was stored, or start in another folder.",
                "objects",
            ) from None


def _describe_refusal(error: Exception) -> str:
    frame = traceback.extract_tb(error.__traceback__)[-1]
    reason = shorten_text(str(error) or "no reason given", _LONGEST_REASON).rstrip(".")
    return f"{reason} ({type(error).__name__} in {Path(frame.filename).name}, line {frame.lineno})."


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
