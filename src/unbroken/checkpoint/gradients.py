"""Gradients that no optimizer has used when a step ends: the steps after it depend on them, so they are state.

What an optimizer leaves behind when it has stepped is none: the loop sets it to zero before it is used again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
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
    """Knows of every optimizer of a state which gradients it has used; while it is open, steps are seen.

    A module of the state is such a user too, of the parameters that no optimizer of the state trains: the program does
    that by hand, or by an optimizer which has nothing to remember, such as SGD, and was left out.
    """

    def __init__(self, objects: Mapping[str, object], with_modules: bool = True) -> None:
        """`objects`: the parts of the state. `with_modules`: not where ranks may have gradients of their own."""
        self._objects = objects if with_modules else {}
        optimizers = {part: holder for part, holder in objects.items() if isinstance(holder, torch.optim.Optimizer)}
        self._uses = {part: _GradientUse(optimizer, part) for part, optimizer in optimizers.items()}
        self._hook: RemovableHandle | None = None

    def open(self) -> None:
        """Begin. Gradients that are there already are no result of the run's steps."""
        self._uses |= {part: _GradientUse(None, part, own) for part, own in self._find_untrained().items()}
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
        for use in own:
            use.note_step()
        for use in self._uses.values():
            if use.optimizer is None or not own:
                use.note_step(optimizer)

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
            for (path, parameter), is_used in zip(use.list_named(), flags, strict=False):
                if (gradient := parameter.grad) is not None:
                    yield part, path, gradient, is_used

    def name_user(self, part: str) -> str:
        """Who would use the gradients that belong to a part, in words."""
        return f"`{part}`" if self._uses[part].optimizer else "an optimizer"

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
        for part, own in self._find_untrained().items():  # a parameter may be another object now
            if part in self._uses:
                self._uses[part].parameters = own
        for part, use in self._uses.items():
            use.resume([used.get(trains.get(path, path), {}).get(part) for path, _ in use.list_named()])

    def _find_untrained(self) -> dict[str, list[tuple[str, torch.Tensor]]]:
        """Module of the state -> path and parameter of all that no optimizer of the state trains, each once."""
        seen = {id(parameter) for use in self._uses.values() if use.optimizer for _, parameter in use.list_named()}
        found: dict[str, list[tuple[str, torch.Tensor]]] = {}
        for part, holder in self._objects.items():
            if isinstance(holder, torch.nn.Module):
                for path, parameter in list_module_parameters(holder, part):
                    if id(parameter) not in seen:
                        found.setdefault(part, []).append((path, parameter))
                    seen.add(id(parameter))
        return found


class _GradientUse:
    """Which gradients one optimizer has used, or what trains the parameters of a module that has none."""

    def __init__(
        self, optimizer: torch.optim.Optimizer | None, part: str, parameters: Sequence[tuple[str, torch.Tensor]] = ()
    ) -> None:
        self.optimizer, self._part, self.parameters = optimizer, part, parameters
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

    def list_named(self) -> Iterable[tuple[str, torch.Tensor]]:
        """Path and parameter of all that it is about."""
        return list_parameters(self.optimizer, self._part) if self.optimizer else self.parameters

    def _list_parameters(self) -> list[torch.Tensor]:
        if self.optimizer is None:
            return [parameter for _, parameter in self.parameters]
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


def list_module_parameters(module: torch.nn.Module, part: str) -> Iterator[tuple[str, torch.Tensor]]:
    """Path and parameter of all that a module holds, with those that it holds twice."""
    for prefix, child in module.named_modules():
        for key, parameter in child._parameters.items():
            if parameter is not None:
                yield f"{part}/{prefix}.{key}" if prefix else f"{part}/{key}", parameter


def list_parameters(optimizer: torch.optim.Optimizer, part: str) -> Iterator[tuple[str, torch.Tensor]]:
    """Path and parameter of all that an optimizer trains."""
    for number, group in enumerate(optimizer.param_groups):
        for index, parameter in enumerate(group["params"]):
            yield f"{part}/param_groups/{number}/params/{index}", parameter
