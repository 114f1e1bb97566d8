"""What may stand in a state, how it is read, and the random generators in it and beside it."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from typing import Any, Protocol, cast, runtime_checkable

import numpy as np
import torch

from unbroken.errors import CheckpointError
from unbroken.exact.numerics import Numerics
from unbroken.exact.randomness import get_global_state, set_global_state

RNG = "rng"
_SEEDS, _SPAWNED = "seed_seq", "n_children_spawned"
_READING = {"state_dict", "_save_to_state_dict", "get_extra_state"}


@runtime_checkable
class Stateful(Protocol):
    """Module, optimizer, scheduler, scaler, loader, or anything of yours."""

    def state_dict(self) -> Any: ...

    def load_state_dict(self, state_dict: Any, /) -> Any: ...


Generator = torch.Generator | np.random.Generator | np.random.RandomState | random.Random
Holder = Stateful | Generator | MutableMapping[str, Any]
"""What may stand in `state`: also generators, and dicts (a cursor, say), which are refilled in place."""


def read_holder(holder: Holder, name: str) -> Any:
    """The state of one of them.

    Raises:
        CheckpointError: It is no holder.
    """
    if isinstance(holder, torch.Generator):
        return holder.get_state()
    if isinstance(holder, np.random.Generator):
        return _read_bit_generator(holder.bit_generator)
    if isinstance(holder, np.random.RandomState):
        return holder.get_state(legacy=False)
    if isinstance(holder, random.Random) and is_generator(holder):
        return holder.getstate()
    if isinstance(holder, dict):
        return holder
    if isinstance(holder, Stateful):
        return holder.state_dict()
    raise CheckpointError(
        f"The state {name} is a {type(holder).__module__}.{type(holder).__qualname__}, expected a dict, a random "
        f"generator, or an object with `state_dict` and `load_state_dict`. Next: put it into a dict, "
        f"`state={{{name!r}: {{'value': …}}}}`, and take it from there in each step, or give it these two methods."
    )


def set_generator(holder: object, state: Any) -> None:
    """Put a generator of the state back."""
    if isinstance(holder, torch.Generator):
        holder.set_state(state)
    elif isinstance(holder, np.random.Generator):
        _set_bit_generator(holder.bit_generator, state)
    elif isinstance(holder, np.random.RandomState):
        holder.set_state(state)
    elif isinstance(holder, random.Random):
        holder.setstate(state)


def _read_bit_generator(bits: np.random.BitGenerator) -> dict[str, Any]:
    seeds = _read_seeds(bits)
    return {**bits.state, **({_SEEDS: seeds} if seeds and seeds[_SPAWNED] else {})}


def _read_seeds(bits: np.random.BitGenerator) -> dict[str, Any] | None:
    """What `spawn` makes the next child of; it is not in numpy's own state."""
    seeds = getattr(bits, "seed_seq", None)
    return dict(seeds.state) if isinstance(seeds, np.random.SeedSequence) else None


def _set_bit_generator(bits: np.random.BitGenerator, state: Mapping[str, Any]) -> None:
    bits.state = {key: value for key, value in state.items() if key != _SEEDS}
    own = _read_seeds(bits)
    if own is None:
        return
    wanted = state.get(_SEEDS) or {**own, _SPAWNED: 0}
    missing = wanted[_SPAWNED] - own[_SPAWNED]
    if missing >= 0 and _is_equal({**own, _SPAWNED: wanted[_SPAWNED]}, wanted):
        bits.seed_seq.spawn(missing)  # type: ignore[attr-defined]  # it is a SeedSequence
    else:
        _replace_seeds(bits, wanted)


def _replace_seeds(bits: np.random.BitGenerator, wanted: Mapping[str, Any]) -> None:
    try:
        cast(Any, bits).__setstate__((bits.state, np.random.SeedSequence(**wanted)))
    except TypeError:
        raise CheckpointError(
            f"numpy {np.__version__} cannot give a generator the seeds of its children back, of which it has spawned "
            f"others. Next: use numpy 2.0 or newer, or spawn all children before `Run`."
        ) from None


def is_generator(holder: object) -> bool:
    """Whether it is a random generator, which others may draw from while they are read or loaded."""
    return isinstance(holder, Generator) and not isinstance(holder, random.SystemRandom)  # which has no state


@contextmanager
def unmoved_generators(objects: Mapping[str, Holder]) -> Iterator[dict[str, Any]]:
    """The states of all generators, in `objects` and (under `rng`) the global ones, which they have again afterwards.

    Some objects draw when their state is read, such as a loader that makes its iterator then.
    """
    before = _read_generators(objects)
    may_draw = any(map(_runs_code_of_yours, objects.values()))
    try:
        yield before
    finally:
        if may_draw:  # reading them again costs more than reading fifty tensors
            _put_back_moved(objects, before)


def _put_back_moved(objects: Mapping[str, Holder], before: Mapping[str, Any]) -> None:
    after = _read_generators(objects)
    for name, state in before.items():
        if _is_equal(state, after[name]):
            continue
        if name == RNG:
            set_global_state(state)
        else:
            set_generator(objects[name], state)


def _runs_code_of_yours(holder: object) -> bool:
    """Whether reading it calls more than torch's own code, which draws nothing."""
    if isinstance(holder, torch.nn.Module):
        return not all(map(_is_plain_module, holder.modules()))
    if isinstance(holder, torch.optim.Optimizer):
        hooks = holder._optimizer_state_dict_pre_hooks or holder._optimizer_state_dict_post_hooks
        return bool(hooks) or not is_of_torch(holder, "state_dict")
    if isinstance(holder, torch.optim.lr_scheduler.LRScheduler):
        inner = getattr(holder, "_schedulers", ())
        return not is_of_torch(holder, "state_dict") or any(map(_runs_code_of_yours, inner))
    return not isinstance(holder, dict | Numerics) and not is_generator(holder)


def _is_plain_module(module: torch.nn.Module) -> bool:
    kind, plain = type(module), torch.nn.Module
    return (
        kind.state_dict is plain.state_dict
        and kind._save_to_state_dict is plain._save_to_state_dict
        and kind.get_extra_state is plain.get_extra_state
        and not (module._state_dict_hooks or module._state_dict_pre_hooks)
        and not module.__dict__.keys() & _READING
    )


def is_of_torch(holder: object, method: str) -> bool:
    """Whether a method is torch's own code, and not yours."""
    module = getattr(getattr(holder, method), "__module__", None) or ""
    return module.partition(".")[0] == "torch"


def _read_generators(objects: Mapping[str, Holder]) -> dict[str, Any]:
    states = {name: read_holder(holder, name) for name, holder in objects.items() if is_generator(holder)}
    return {**states, RNG: get_global_state()}


def _is_equal(first: Any, second: Any) -> bool:
    if isinstance(first, dict):
        # A CUDA generator may have come into use meanwhile.
        return all(key in second and _is_equal(value, second[key]) for key, value in first.items())
    if isinstance(first, np.ndarray):
        return np.array_equal(first, second)
    return torch.equal(first, second) if isinstance(first, torch.Tensor) else bool(first == second)
