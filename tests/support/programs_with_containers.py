"""More small trainings: what is lost here is an entry of a dict or a list, and what is harmless has caches."""

from __future__ import annotations

import functools
import queue
from typing import Any

import torch

from tests.support.programs_with_extras import HARMLESS, LOST, Extra, harmless, loses

_EARLIER = {*LOST, *HARMLESS}


@loses("best")
class BestInADict(Extra):
    """The usual best weights: made in the best step, saved at the end."""

    def prepare(self) -> None:
        self.best: dict[str, Any] = {}

    def after(self, step: int) -> None:
        if abs(step - 3) < self.best.get("error", 99):
            self.best["error"] = abs(step - 3)
            self.best["weights"] = {name: value.clone() for name, value in self.model.state_dict().items()}


@loses("best")
class BestAsAReference(Extra):
    """No copy: all that is missing at the end is the key."""

    def prepare(self) -> None:
        self.best: dict[str, Any] = {"error": 99}

    def after(self, step: int) -> None:
        if step == 3:
            self.best["weights"] = self.model.state_dict()


@loses("best")
class BestWithAPlaceholder(Extra):
    def prepare(self) -> None:
        self.best: Any = float("inf")

    def after(self, step: int) -> None:
        if step == 3:
            self.best = self.model[0].weight.detach().clone()


@loses("predictions")
class GrowingList(Extra):
    """All but the last entry are lost, and the last one has a variable of its own."""

    def prepare(self) -> None:
        self.predictions: list[torch.Tensor] = []

    def after(self, step: int) -> None:
        self.last = self.model[0].weight.detach() * step
        self.predictions.append(self.last)


@loses("todo")
class ConsumedQueue(Extra):
    """What was taken out is there again."""

    def prepare(self) -> None:
        self.todo: queue.Queue[torch.Tensor] = queue.Queue()
        for number in range(12):
            self.todo.put(torch.full((2,), float(number)))

    def after(self, step: int) -> None:
        self.todo.get()


@loses("encodings")
class CacheOfEncodings(Extra):
    """Nobody but its author can tell it from the best weights: it is named, and declared with --stateless."""

    def prepare(self) -> None:
        self.encodings: dict[int, torch.Tensor] = {}

    def after(self, step: int) -> None:
        self.encodings.setdefault(step // 2, torch.full((3,), float(step // 2)))


@functools.lru_cache(maxsize=4)
def encode_number(number: int) -> torch.Tensor:
    """As a slow function has it."""
    return torch.full((3,), float(number))


@harmless
class CachedFunction(Extra):
    def after(self, step: int) -> None:
        encode_number(step // 2)


@harmless
class CachedMethod(Extra):
    @functools.cache  # noqa: B019
    def encode(self, number: int, scale: float = 1.0) -> torch.Tensor:
        return torch.full((3,), float(number)) * scale

    def after(self, step: int) -> None:
        self.encode(step // 2, scale=2.0)


class Tokenizer:
    """As a library has it."""

    __module__ = "torch.utils"

    def __init__(self) -> None:
        self.seen: dict[int, torch.Tensor] = {}
        self.recent: list[torch.Tensor] = []

    def encode(self, number: int) -> torch.Tensor:
        if number not in self.seen:
            self.seen[number] = torch.full((3,), float(number))
            self.recent = [self.seen[number], *self.recent][:3]
        return self.seen[number]


@harmless
class CacheOfALibrary(Extra):
    def prepare(self) -> None:
        self.tokenizer = Tokenizer()

    def after(self, step: int) -> None:
        self.tokenizer.encode(step // 2)


@harmless
class LossesForTheConsole(Extra):
    def prepare(self) -> None:
        self.losses: list[float] = []
        self.tensors: list[torch.Tensor] = []
        self.times: dict[str, float] = {}

    def after(self, step: int) -> None:
        loss = self.model[0].weight.detach().sum()
        self.losses.append(loss.item())
        self.tensors.append(loss)
        self.times[f"step {step}"] = 0.1


@harmless
class ContainersMadeAnew(Extra):
    def after(self, step: int) -> None:
        parts = [torch.ones(1)] * (step % 3)
        self.inputs, self.pending = {"x": torch.ones(2) * step, "parts": parts}, list(parts)
        if step == 4:
            self.report = {"weights": self.model[0].weight.detach().clone()}  # a variable of a branch


@harmless
class SetsOfParameters(Extra):
    def prepare(self) -> None:
        self.decayed = set(self.model.parameters())
        self.averages = {id(each): torch.zeros(2) for each in self.model.parameters()}


REGISTERED = {*LOST, *HARMLESS} - _EARLIER
