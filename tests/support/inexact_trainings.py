"""Small trainings, each with one planted fault that makes a resume inexact.

`python inexact_trainings.py NAME` runs one. All are meant to be interrupted after step 5; `EXPECTED` says after
which step the difference must be seen first.
"""

from __future__ import annotations

import os
import random
import sys
import tempfile
import time
import zlib
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from unbroken.exact.randomness import seed_all
from unbroken.preemption import StopFlag
from unbroken.run import Run
from unbroken.run_folder.identity import Identity

STEPS, STOP = 12, 5
EXPECTED: dict[str, int] = {}
PROGRAMS: dict[str, type[Training]] = {}


class Training:
    """Without a fault: shuffle, dropout, schedule, a cursor that is in the state."""

    def __init__(self) -> None:
        seed_all(1)
        self.model = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.2), nn.Linear(4, 1))
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=0.05)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, lambda step: 0.9**step)
        self.cursor: dict[str, Any] = {"order": torch.randperm(16), "at": 0}
        self.prepare()

    def prepare(self) -> None:
        """What a fault adds."""

    def state(self) -> dict[str, Any]:
        """What is saved."""
        return {
            "model": self.model,
            "optimizer": self.optimizer,
            "schedule": self.schedule,
            "cursor": self.cursor,
        }

    def batch(self, _step: int) -> torch.Tensor:
        """Rows (4, 3) of the data."""
        if self.cursor["at"] + 4 > 16:
            self.cursor.update(order=torch.randperm(16), at=0)
        self.cursor["at"] += 4
        ids = self.cursor["order"][self.cursor["at"] - 4 : self.cursor["at"]]
        return torch.linspace(-1, 1, 48).reshape(16, 3)[ids]

    def noise(self, _step: int) -> float:
        """Added to the batch: where most faults come in."""
        return 0.0

    def begin(self, run: Run) -> None:
        """After the state is restored."""

    def train(self, step: int) -> dict[str, float]:
        """One step."""
        loss = (self.model(self.batch(step) + self.noise(step)) - 1).square().mean()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.schedule.step()
        return {"loss": loss.item()}


def seen_at(step: int) -> Any:
    """Register a program whose fault shows first after this step."""

    def register(program: type[Training]) -> type[Training]:
        EXPECTED[program.__name__], PROGRAMS[program.__name__] = step, program
        return program

    return register


class Unsaved(Training):
    """One object is left out of the state."""

    left_out = ""

    def state(self) -> dict[str, Any]:
        return {name: holder for name, holder in super().state().items() if name != self.left_out}


@seen_at(6)
class UnsavedModel(Unsaved):
    left_out = "model"


@seen_at(6)
class UnsavedOptimizer(Unsaved):
    left_out = "optimizer"


@seen_at(6)
class UnsavedSchedule(Unsaved):
    left_out = "schedule"


@seen_at(6)
class UnsavedCursor(Unsaved):
    left_out = "cursor"


@seen_at(6)
class OwnPythonGenerator(Training):
    def prepare(self) -> None:
        self.own = random.Random(1)

    def noise(self, _step: int) -> float:
        return self.own.random()


@seen_at(6)
class OwnNumpyGenerator(Training):
    def prepare(self) -> None:
        self.own = np.random.default_rng(1)

    def noise(self, _step: int) -> float:
        return float(self.own.random())


@seen_at(6)
class OwnTorchGenerator(Training):
    def prepare(self) -> None:
        self.own = torch.Generator().manual_seed(1)

    def noise(self, _step: int) -> float:
        return torch.rand(1, generator=self.own).item()


@seen_at(8)
class GeneratorThatIsSeldomUsed(OwnPythonGenerator):
    def noise(self, step: int) -> float:
        return self.own.random() if step % 4 == 0 else 0.0


@seen_at(1)
class SetOrder(Training):
    def noise(self, _step: int) -> float:
        words = {f"word{index}" for index in range(50)}
        return float("".join(word[4:] for word in words)[:8]) / 1e8


@seen_at(1)
class HashOfText(Training):
    def noise(self, _step: int) -> float:
        return hash("sample") % 1000 / 1000


@seen_at(1)
class TimeDependentData(Training):
    def noise(self, _step: int) -> float:
        return time.time_ns() % 1000 / 1000


@seen_at(1)
class SeededByTheSystem(Training):
    def prepare(self) -> None:
        self.own = random.Random(os.urandom(8))

    def noise(self, _step: int) -> float:
        return self.own.random()


@seen_at(1)
class DependsOnTheProcess(Training):
    def noise(self, _step: int) -> float:
        return os.getpid() / 2**22


@seen_at(1)
class DependsOnATemporaryName(Training):
    def noise(self, _step: int) -> float:
        with tempfile.NamedTemporaryFile() as file:
            return zlib.crc32(file.name.encode()) / 2**32  # two names are never equal by chance


class Items(torch.utils.data.Dataset[float]):
    """Augments with a generator of the worker process."""

    def __len__(self) -> int:
        return STEPS

    def __getitem__(self, index: int) -> float:
        return float(np.random.rand())


def seed_by_clock(_worker: int) -> None:
    """The mistake."""
    np.random.seed(time.time_ns() % 2**32)


@seen_at(1)
class WorkersSeededByTheClock(Training):
    def begin(self, _run: Run) -> None:
        loader = torch.utils.data.DataLoader(Items(), batch_size=1, num_workers=1, worker_init_fn=seed_by_clock)
        self.items: Iterator[torch.Tensor] = iter(loader)

    def noise(self, _step: int) -> float:
        return next(self.items).item()


@seen_at(6)
class LoaderThatDrawsItsSeedAgain(Training):
    def begin(self, run: Run) -> None:
        loader = torch.utils.data.DataLoader(range(STEPS), batch_size=1)  # type: ignore[arg-type]
        self.items = iter(loader)
        for _ in range(run.step + 1):
            next(self.items)  # skips what was seen, but the draw of its seed has moved the generator


class Average:
    """Holds a tensor, and takes another one when it is loaded."""

    def __init__(self, weight: torch.Tensor) -> None:
        self.weight = weight

    def state_dict(self) -> dict[str, torch.Tensor]:
        return {"weight": self.weight}

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        self.weight = state["weight"]


@seen_at(6)
class AverageThatIsAnAlias(Training):
    """The snapshot of the weights is the weights themselves, until a resume makes it a tensor of its own."""

    def prepare(self) -> None:
        self.average = Average(self.model[0].weight.data)

    def state(self) -> dict[str, Any]:
        return {**super().state(), "average": self.average}

    def noise(self, _step: int) -> float:
        return float(self.average.weight.mean())


class Counter:
    """Its state changes when it is asked for."""

    def __init__(self) -> None:
        self.asked = 0

    def state_dict(self) -> dict[str, int]:
        self.asked += 1
        return {"asked": self.asked}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.asked = state["asked"] - 1


@seen_at(1)
class StateThatChangesWhenRead(Training):
    def prepare(self) -> None:
        self.counter = Counter()

    def state(self) -> dict[str, Any]:
        return {**super().state(), "counter": self.counter}

    def noise(self, _step: int) -> float:
        return self.counter.asked / 100


class Partial(nn.Linear):
    """Restores half of its state."""

    def load_state_dict(self, state: Any, *_arguments: Any) -> Any:
        with torch.no_grad():
            self.weight.copy_(state["weight"])


@seen_at(6)
class LoadsHalfOfItsState(Training):
    def prepare(self) -> None:
        self.extra = Partial(3, 1)
        self.optimizer.add_param_group({"params": list(self.extra.parameters())})
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, lambda step: 0.9**step)

    def state(self) -> dict[str, Any]:
        return {**super().state(), "extra": self.extra}

    def train(self, step: int) -> dict[str, float]:
        self.extra(torch.ones(3)).sum().backward()
        return super().train(step)

    def noise(self, _step: int) -> float:
        with torch.no_grad():
            self.extra.bias += 0.01
        return 0.0


@seen_at(6)
class GradientsSummedByHand(Training):
    """Those that are accumulated where torch does so are a part of every checkpoint."""

    def prepare(self) -> None:
        self.sums = [torch.zeros_like(parameter) for parameter in self.model.parameters()]

    def train(self, step: int) -> dict[str, float]:
        loss = (self.model(self.batch(step)) - 1).square().mean()
        gradients = torch.autograd.grad(loss, list(self.model.parameters()))
        self.sums = [old + new for old, new in zip(self.sums, gradients, strict=True)]
        if step % 2 == 0:
            for parameter, total in zip(self.model.parameters(), self.sums, strict=True):
                parameter.grad = total
            self.optimizer.step()
            self.optimizer.zero_grad()
            self.prepare()
        return {"loss": loss.item()}


@seen_at(6)
class CountsItsOwnSteps(Training):
    def prepare(self) -> None:
        self.count = 0

    def noise(self, _step: int) -> float:
        self.count += 1
        return self.count / 100


@seen_at(6)
class RunningMeanAsAttribute(Training):
    def prepare(self) -> None:
        self.mean = 0.0

    def noise(self, step: int) -> float:
        self.mean = 0.9 * self.mean + 0.1 * step
        return self.mean


@seen_at(6)
class BestLossForgotten(Training):
    def prepare(self) -> None:
        self.best = float("inf")

    def train(self, step: int) -> dict[str, float]:
        values = super().train(step)
        self.best = min(self.best, values["loss"] + step)
        return {**values, "best": self.best}


@seen_at(6)
class ReplayBufferForgotten(Training):
    def prepare(self) -> None:
        self.seen: deque[float] = deque([0.0], maxlen=4)

    def noise(self, step: int) -> float:
        self.seen.append(step / 100)
        return sum(self.seen) / len(self.seen)


class Norm(nn.Module):
    """A buffer that is not part of the state."""

    def __init__(self) -> None:
        super().__init__()
        self.mean: torch.Tensor
        self.register_buffer("mean", torch.zeros(1), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.mean += 0.1
        return x + self.mean


@seen_at(6)
class BufferThatIsNotPersistent(Training):
    def prepare(self) -> None:
        self.model.append(Norm())


@seen_at(6)
class WarmsUpAfterEveryStart(Training):
    def begin(self, run: Run) -> None:
        self.first = run.step + 1

    def noise(self, step: int) -> float:
        return 0.1 / (step - self.first + 1)


@seen_at(6)
class ValidatesAtTheStart(Training):
    def begin(self, _run: Run) -> None:
        torch.rand(3)  # a sanity check on random inputs moves the generator once more on a resume


@seen_at(6)
class WeightsTiedOnlyAtFirst(Training):
    """The second of two equal lists is rebuilt from the first only at construction."""

    def prepare(self) -> None:
        self.shadow = [parameter.detach().clone() for parameter in self.model.parameters()]

    def noise(self, _step: int) -> float:
        for shadow, parameter in zip(self.shadow, self.model.parameters(), strict=True):
            shadow.lerp_(parameter.detach(), 0.5)
        return float(self.shadow[0].mean())


def main(name: str) -> None:
    """Train one program to its end in the folder that `prove` gives."""
    stop = StopFlag.install()
    torch.set_num_threads(1)
    program = PROGRAMS.get(name, Training)()
    folder = Path(os.environ["UNBROKEN_FOLDER"])
    with Run(folder, identity=Identity({"program": name}), state=program.state(), stop=stop) as run:
        program.begin(run)
        for step in run.steps(STEPS):
            run.log(**program.train(step))


if __name__ == "__main__":
    main(sys.argv[1])
