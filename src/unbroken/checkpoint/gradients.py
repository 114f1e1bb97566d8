"""Gradients that no optimizer has used when a step ends: the steps after it depend on them, so they are state.

What an optimizer leaves behind when it has stepped is none: the loop sets it to zero before it is used again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import zip_longest
from weakref import ReferenceType, ref

import torch
from torch.optim.optimizer import register_optimizer_step_post_hook
from torch.utils.hooks import RemovableHandle

from unbroken.canonical_json import digest_json
from unbroken.checkpoint.tensorfile import digest_tensors

_Mark = tuple["ReferenceType[torch.Tensor]", int | None] | None
"""A gradient and the version that an optimizer has used."""


class GradientWatch:
    """Knows of every optimizer of a state which gradients it has used; while it is open, steps are seen."""

    def __init__(self, objects: Mapping[str, object]) -> None:
        """`objects`: the parts of the state."""
        optimizers = {part: holder for part, holder in objects.items() if isinstance(holder, torch.optim.Optimizer)}
        self._uses = {part: _GradientUse(optimizer) for part, optimizer in optimizers.items()}
        self._hook: RemovableHandle | None = None

    def open(self) -> None:
        """Begin. Gradients that are there already are no result of the run's steps."""
        if self._uses:
            for use in self._uses.values():
                use.note_step()
            self._hook = register_optimizer_step_post_hook(self._note_step)

    def close(self) -> None:
        """End."""
        if self._hook:
            self._hook.remove()
            self._hook = None

    def _note_step(self, optimizer: torch.optim.Optimizer, *_: object) -> None:
        own = [use for use in self._uses.values() if use.optimizer is optimizer]
        for use in own or self._uses.values():
            use.note_step(None if own else optimizer)

    def end_step(self) -> bool:
        """A step of the run ends; returns whether an optimizer carries gradients over its end."""
        carries = [use.end_step() for use in self._uses.values()]
        return any(carries)

    def carried(self) -> Iterator[tuple[str, str, torch.Tensor, bool]]:
        """The gradients that belong to the state now.

        Returns:
            Part and path of its parameter, the gradient, and whether that optimizer has used it.
        """
        for part, use in self._uses.items():
            flags = use.find_carried()
            for (path, parameter), is_used in zip(list_parameters(use.optimizer, part), flags, strict=False):
                if (gradient := parameter.grad) is not None:
                    yield part, path, gradient, is_used

    def digest(self) -> str:
        """64 hex over the gradients that belong to the state."""
        dense = {path: gradient.detach().to_dense() for _, path, gradient, _ in self.carried()}
        return digest_json(dict(digest_tensors(dense)))

    def resume(self, used: Mapping[str, Mapping[str, bool]], trains: Mapping[str, str]) -> None:
        """The gradients of a checkpoint are in their places.

        Args:
            used: Path of a parameter with such a gradient -> part -> whether that optimizer has used it.
            trains: Path of an optimizer's parameter -> that in `used`, where it is another.
        """
        for part, use in self._uses.items():
            use.resume(
                [used.get(trains.get(path, path), {}).get(part) for path, _ in list_parameters(use.optimizer, part)]
            )


class _GradientUse:
    """Which gradients one optimizer has used."""

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self.optimizer = optimizer
        self._marks: list[_Mark] = []
        self._has_stepped = False
        """In the step of the run that is under way."""
        self._was_unused = self._is_kept = False
        """Had it unused gradients when the last step of the run ended; do those that it has belong to the state?"""

    def note_step(self, inner: torch.optim.Optimizer | None = None) -> None:
        """It has stepped, or `inner` did, of which it may be made: gradients are used."""
        parameters = self._list_parameters()
        if inner is None:
            self._marks = list(map(_mark, parameters))
        else:
            stepped = {id(parameter) for group in inner.param_groups for parameter in group["params"]}
            if stepped.isdisjoint(map(id, parameters)):
                return
            pairs = zip_longest(parameters, self._marks[: len(parameters)])
            self._marks = [_mark(parameter) if id(parameter) in stepped else mark for parameter, mark in pairs]
        self._has_stepped = True

    def end_step(self) -> bool:
        """A step of the run ends; returns whether there are gradients that belong to the state.

        What is left of gradients that were carried belongs to it too: the loop may add to it before it is zeroed, as
        where two models are trained in turn.
        """
        is_unused = self._has_unused()
        self._is_kept = is_unused or (self._was_unused if self._has_stepped else self._is_kept)
        self._was_unused, self._has_stepped = is_unused, False
        return self._is_kept and any(parameter.grad is not None for parameter in self._list_parameters())

    def find_carried(self) -> list[bool]:
        """For each parameter, whether it has used its gradient; nothing if no gradient belongs to the state."""
        if not (self._is_kept or self._has_unused()):
            return []
        return [not _is_unused(*pair) for pair in self._pairs()]

    def resume(self, used: list[bool | None]) -> None:
        """Go on with the gradients of a checkpoint. `used`: None for a parameter that has none there."""
        self._is_kept, self._was_unused = used != [None] * len(used), False in used
        for parameter, is_used in zip(self._list_parameters(), used, strict=True):
            if self._is_kept and is_used is None and parameter.requires_grad:
                parameter.grad = None
        self._marks = [
            None if is_used is False else _mark(parameter)
            for parameter, is_used in zip(self._list_parameters(), used, strict=True)
        ]
        self._has_stepped = False

    def _has_unused(self) -> bool:
        return any(_is_unused(parameter, mark) for parameter, mark in self._pairs())

    def _pairs(self) -> Iterable[tuple[torch.Tensor, _Mark]]:
        parameters = self._list_parameters()
        return zip_longest(parameters, self._marks[: len(parameters)])

    def _list_parameters(self) -> list[torch.Tensor]:
        return [parameter for group in self.optimizer.param_groups for parameter in group["params"]]


def _mark(parameter: torch.Tensor) -> _Mark:
    gradient = parameter.grad
    return None if gradient is None else (ref(gradient), _read_version(gradient))


def _is_unused(parameter: torch.Tensor, mark: _Mark) -> bool:
    gradient = parameter.grad
    if gradient is None:
        return False
    return mark is None or mark[0]() is not gradient or mark[1] != _read_version(gradient)


def _read_version(gradient: torch.Tensor) -> int | None:
    try:
        return gradient._version
    except RuntimeError:  # an inference tensor has none; to ask each whether it is one would cost every step
        return None


def list_parameters(optimizer: torch.optim.Optimizer, part: str) -> Iterator[tuple[str, torch.Tensor]]:
    """Path and parameter of all that an optimizer trains."""
    for number, group in enumerate(optimizer.param_groups):
        for index, parameter in enumerate(group["params"]):
            yield f"{part}/param_groups/{number}/params/{index}", parameter
