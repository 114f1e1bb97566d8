"""Small trainings that change what they train on the way, or keep what they train with outside of any object's state.

`KEPT` resume in the same bytes; `FORGOTTEN` do not, and say what `prove` has to find: 3 a difference, 4 a loss.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from tests.support.inexact_trainings import PROGRAMS, Training
from tests.support.programs_with_extras import Extra

CHANGES_AT = 7
"""No power of two, after which a census would be taken."""
KEPT: list[str] = []
FORGOTTEN: dict[str, tuple[int, str]] = {}
MEANS: list[torch.Tensor] = []
SCALE = {"noise": 0.0}


def kept(program: type[Training]) -> type[Training]:
    """Register a program that resumes exactly."""
    KEPT.append(program.__name__)
    PROGRAMS[program.__name__] = program
    return program


def forgotten(code: int, named: str) -> Callable[[type[Training]], type[Training]]:
    """Register one that does not: the exit code of `prove`, and what the finding has in it."""

    def register(program: type[Training]) -> type[Training]:
        FORGOTTEN[program.__name__], PROGRAMS[program.__name__] = (code, named), program
        return program

    return register


@kept
class FreezesAParameterMidway(Extra):
    def after(self, step: int) -> None:
        if step == CHANGES_AT:
            self.model[0].weight.requires_grad_(False)
            self.model[0].weight.grad = None


@forgotten(3, "tensor model/0.weight")
class FreezesByAVariable(Extra):
    is_frozen = False

    def train(self, step: int) -> dict[str, float]:
        before = self.model[0].weight.detach().clone()
        values = super().train(step)
        if self.is_frozen:
            self.model[0].weight.data.copy_(before)
        return values

    def after(self, step: int) -> None:
        self.is_frozen |= step == CHANGES_AT


def scale_by_calls(module: nn.Module, count: dict[str, int]) -> None:
    """A forward hook that counts its calls in a closure, and scales by them."""

    def hook(_module: nn.Module, _inputs: Any, output: torch.Tensor) -> torch.Tensor:
        count["calls"] += 1
        return output * (1 + count["calls"] / 100)

    module.register_forward_hook(hook)


@kept
class HookWhoseCountIsInTheState(Training):
    def prepare(self) -> None:
        self.count = {"calls": 0}
        scale_by_calls(self.model[0], self.count)

    def state(self) -> dict[str, Any]:
        return {**super().state(), "count": self.count}


@forgotten(3, "metric loss")
class HookThatCounts(Training):
    def prepare(self) -> None:
        scale_by_calls(self.model[0], {"calls": 0})


@forgotten(3, "metric loss")
class HookThatComesMidway(Extra):
    def after(self, step: int) -> None:
        if step == CHANGES_AT:
            self.model[0].register_forward_hook(lambda _module, _inputs, output: output / 2)


@forgotten(4, "seen")
class HookThatOnlyLooks(Training):
    def prepare(self) -> None:
        seen = torch.zeros(4)

        def look(_module: nn.Module, _inputs: Any, output: torch.Tensor) -> None:
            seen.add_(output.detach().mean(0))

        self.model[0].register_forward_hook(look)


def make_smoothing(weight: torch.Tensor) -> Callable[[], torch.Tensor]:
    """A mean of the weight that only its function knows."""
    mean = weight.detach().clone()
    return lambda: mean.lerp_(weight.detach(), 0.1)


@forgotten(4, "mean")
class ClosureThatNobodyReads(Extra):
    def prepare(self) -> None:
        self.smooth = make_smoothing(self.model[0].weight)

    def after(self, step: int) -> None:
        self.smooth()


@forgotten(3, "metric loss")
class ClosureThatAStepReads(Training):
    def prepare(self) -> None:
        self.smooth = make_smoothing(self.model[0].weight)

    def noise(self, _step: int) -> float:
        return float(self.smooth().mean())


@forgotten(4, "MEANS")
class GlobalThatNobodyReads(Extra):
    def prepare(self) -> None:
        MEANS[:] = [torch.zeros(4, 3)]

    def after(self, step: int) -> None:
        MEANS[0].lerp_(self.model[0].weight.detach(), 0.1)


@forgotten(3, "metric loss")
class GlobalThatAStepReads(Training):
    def prepare(self) -> None:
        SCALE["noise"] = 0.0

    def noise(self, step: int) -> float:
        SCALE["noise"] += 0.1 * (step >= CHANGES_AT)
        return SCALE["noise"]
