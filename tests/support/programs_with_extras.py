"""Small trainings that hold something beside their state: what an interruption loses, and what it does not.

Nothing of it is read by a step: the states after every step are the same, and only what is held at the end differs.
"""

from __future__ import annotations

import copy
import itertools
import random
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import nn

from tests.support.inexact_trainings import PROGRAMS, STEPS, Training, main
from unbroken.run import Run

LOST: dict[str, str] = {}
"""Program -> what is to be named."""
HARMLESS: list[str] = []
AVERAGE: dict[str, torch.Tensor] = {}


def loses(name: str) -> Callable[[type[Training]], type[Training]]:
    """Register a program that loses the object of this name."""

    def register(program: type[Training]) -> type[Training]:
        LOST[program.__name__], PROGRAMS[program.__name__] = name, program
        return program

    return register


def harmless(program: type[Training]) -> type[Training]:
    """Register a program that loses nothing of account."""
    HARMLESS.append(program.__name__)
    PROGRAMS[program.__name__] = program
    return program


class Extra(Training):
    """Something is done after each step."""

    def train(self, step: int) -> dict[str, float]:
        values = super().train(step)
        self.after(step)
        return values

    def after(self, step: int) -> None:
        """What this program does with what it holds."""


@loses("average")
class AverageAsAModule(Extra):
    def prepare(self) -> None:
        self.average = torch.optim.swa_utils.AveragedModel(self.model)

    def after(self, step: int) -> None:
        self.average.update_parameters(self.model)


@loses("average")
class AverageAsADict(Extra):
    def prepare(self) -> None:
        self.average = {name: value.clone() for name, value in self.model.state_dict().items()}

    def after(self, step: int) -> None:
        for name, value in self.model.state_dict().items():
            self.average[name].lerp_(value, 0.1)


@loses("average")
class AverageAsAListOfData(Extra):
    def prepare(self) -> None:
        self.average = [parameter.detach().clone() for parameter in self.model.parameters()]

    def after(self, step: int) -> None:
        for average, parameter in zip(self.average, self.model.parameters(), strict=True):
            average.data.mul_(0.9).add_(parameter.data, alpha=0.1)  # moves no version counter


@loses("heat")
class BuffersThatAreNotPersistent(Extra):
    def prepare(self) -> None:
        for name in ("heat", "hits"):
            self.model.register_buffer(name, torch.zeros(2), persistent=False)

    def after(self, step: int) -> None:
        self.model.heat += step
        self.model.hits += 1


@loses("AVERAGE")
class AverageAsAGlobal(Extra):
    def prepare(self) -> None:
        AVERAGE.update({name: value.clone() for name, value in self.model.state_dict().items()})

    def after(self, step: int) -> None:
        for name, value in self.model.state_dict().items():
            AVERAGE[name].lerp_(value, 0.1)


def make_average(model: nn.Module) -> Callable[[], None]:
    """A function that keeps the average to itself."""
    average = [parameter.detach().clone() for parameter in model.parameters()]

    def update() -> None:
        for mean, parameter in zip(average, model.parameters(), strict=True):
            mean.lerp_(parameter.detach(), 0.1)

    return update


@loses("average")
class AverageInAClosure(Extra):
    def prepare(self) -> None:
        self.update = make_average(self.model)

    def after(self, step: int) -> None:
        self.update()


@loses("mean")
class AverageInAGenerator(Extra):
    def prepare(self) -> None:
        self.items = self.average_weights()
        next(self.items)

    def average_weights(self) -> Iterator[int]:
        mean = self.model[0].weight.detach().clone()
        for count in itertools.count():
            mean.lerp_(self.model[0].weight.detach(), 0.1)
            yield count

    def after(self, step: int) -> None:
        next(self.items)


@loses("best")
class BestWeights(Extra):
    best: dict[str, Any] | None = None

    def after(self, step: int) -> None:
        if step in (2, 7):
            self.best = copy.deepcopy(self.model.state_dict())


@loses("late")
class AverageFromTheMiddleOn(Extra):
    def after(self, step: int) -> None:
        if step == STEPS // 2:
            self.late = torch.optim.swa_utils.AveragedModel(self.model)


class Draws(Extra):
    """Draws what no step reads."""

    make: Callable[[], Any]
    draw: Callable[[Any], object]

    def prepare(self) -> None:
        self.previews = type(self).make()

    def after(self, step: int) -> None:
        type(self).draw(self.previews)


@loses("previews")
class TorchGenerator(Draws):
    make = staticmethod(lambda: torch.Generator().manual_seed(3))
    draw = staticmethod(lambda previews: torch.rand(2, generator=previews))


@loses("previews")
class NumpyGenerator(Draws):
    make = staticmethod(lambda: np.random.default_rng(3))
    draw = staticmethod(lambda previews: previews.random())


@loses("previews")
class NumpyRandomState(Draws):
    make = staticmethod(lambda: np.random.RandomState(3))
    draw = staticmethod(lambda previews: previews.rand())


@loses("previews")
class PythonGenerator(Draws):
    make = staticmethod(lambda: random.Random(3))
    draw = staticmethod(lambda previews: previews.random())


@loses("probe_optimizer")
class ProbeWithAnOptimizer(Extra):
    def prepare(self) -> None:
        self.probe = nn.Linear(4, 1)
        self.probe_optimizer = torch.optim.SGD(self.probe.parameters(), 0.1, momentum=0.9)

    def after(self, step: int) -> None:
        self.probe_optimizer.zero_grad()
        self.probe(self.model[0].weight.detach().T.new_ones(1, 4)).sum().backward()
        self.probe_optimizer.step()


@loses("plateau")
class SchedulerThatWaits(Extra):
    def prepare(self) -> None:
        spare = torch.optim.SGD([nn.Parameter(torch.zeros(1))], 0.1)
        self.plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(spare, patience=99)

    def after(self, step: int) -> None:
        self.plateau.step(float(step))


@loses("fakes")
class BufferOfImages(Extra):
    def prepare(self) -> None:
        self.fakes: deque[torch.Tensor] = deque(maxlen=4)

    def after(self, step: int) -> None:
        if step % 3 == 0:
            self.fakes.append(self.model[0].weight.detach().clone())


@loses("running")
class TensorOfAModel(Extra):
    def prepare(self) -> None:
        self.model[0].running = torch.zeros(2)

    def after(self, step: int) -> None:
        self.model[0].running.add_(step)


@loses("counts")
class NumpyCounts(Extra):
    def prepare(self) -> None:
        self.counts = np.zeros(16)

    def after(self, step: int) -> None:
        self.counts[self.cursor["order"][:4].numpy()] += 1


@harmless
class FrozenModel(Extra):
    def prepare(self) -> None:
        self.sender = nn.Sequential(nn.Linear(3, 64), nn.BatchNorm1d(64)).eval().requires_grad_(False)

    def after(self, step: int) -> None:
        self.last = self.sender(torch.ones(2, 3) * step)


class Accuracy(nn.Module):
    """As torchmetrics has them."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("total", torch.zeros(3), persistent=False)

    def reset(self) -> None:
        self.total.zero_()

    def update(self, values: torch.Tensor) -> None:
        self.total += values

    def compute(self) -> torch.Tensor:
        return self.total.mean()


@harmless
class ValidationMetric(Extra):
    def prepare(self) -> None:
        self.accuracy = Accuracy()

    def after(self, step: int) -> None:
        if step % 5 == 0:
            self.accuracy.reset()
            self.accuracy.update(self.model[0].weight.detach()[0])
            self.validation = self.accuracy.compute()


@harmless
class LoaderWithAGenerator(Extra):
    def prepare(self) -> None:
        self.workers_seed = torch.Generator()
        self.loader = torch.utils.data.DataLoader(range(3), generator=self.workers_seed)  # type: ignore[arg-type]
        self.items = iter(self.loader)

    def after(self, step: int) -> None:
        if next(self.items, None) is None:
            self.items = iter(self.loader)


@harmless
class SplitBeforeTheLoop(Extra):
    def prepare(self) -> None:
        self.splitter = torch.Generator().manual_seed(4)
        self.parts = torch.utils.data.random_split(range(8), [6, 2], generator=self.splitter)  # type: ignore[arg-type]


@harmless
class GeneratorSeededInEveryStep(Extra):
    def prepare(self) -> None:
        self.noise_of_step = torch.Generator()

    def after(self, step: int) -> None:
        torch.rand(2, generator=self.noise_of_step.manual_seed(step))


class Tracker:
    """As a service for metrics has it."""

    def __init__(self) -> None:
        self.begun, self.rows = time.time(), list[dict[str, Any]]()
        self.name = random.Random()

    def log(self, **values: Any) -> None:
        self.rows.append({**values, "time": time.time(), "id": self.name.random()})


@harmless
class TrackerWithAClock(Extra):
    def prepare(self) -> None:
        self.tracker = Tracker()

    def after(self, step: int) -> None:
        self.tracker.log(step=step, loss=self.model[0].weight.detach().sum())
        self.clock = torch.tensor([time.time()], dtype=torch.float64)  # float32 moves once in 128 s


@harmless
class CopyForTheEvaluation(Extra):
    def prepare(self) -> None:
        self.evaluated = copy.deepcopy(self.model)

    def after(self, step: int) -> None:
        if step % 4 == 0:
            self.evaluated.load_state_dict(self.model.state_dict())


@harmless
class InnerLoop(Extra):
    def after(self, step: int) -> None:
        self.learner = copy.deepcopy(self.model)
        self.inner = torch.optim.Adam(self.learner.parameters(), 0.1)
        for _ in range(2):
            self.learner(torch.ones(2, 3)).sum().backward()
            self.inner.step()


@harmless
class PredictionsNowAndThen(Extra):
    def after(self, step: int) -> None:
        if step % 5 == 0:
            self.predictions = self.model[0](torch.ones(2, 3)).detach()


class Stream:
    """Has a generator of its own, which is in its state."""

    def __init__(self) -> None:
        self.own = np.random.default_rng(5)

    def state_dict(self) -> dict[str, Any]:
        return {"own": self.own.bit_generator.state}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.own.bit_generator.state = state["own"]


@harmless
class AllInTheState(Extra):
    def prepare(self) -> None:
        self.stream, self.average = Stream(), {"weight": self.model[0].weight.detach().clone()}

    def state(self) -> dict[str, Any]:
        return {**super().state(), "stream": self.stream, "average": self.average}

    def after(self, step: int) -> None:
        self.average["weight"].lerp_(self.model[0].weight.detach(), float(self.stream.own.random()))


@harmless
class LoopThatAddsNothing(Extra):
    def begin(self, run: Run) -> None:
        self.first = run.step


if __name__ == "__main__":
    import sys

    main(sys.argv[1])
