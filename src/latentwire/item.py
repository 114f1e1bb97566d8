"""One item of the training matrix: its name and where its files are."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from latentwire.params.load import Params, check_choice
from latentwire.params.sections import PERMUTED

ENTRY = "latentwire.stages.train"
"""The module whose imports are the code of a run."""


@dataclass(frozen=True)
class TrainItem:
    """A method, a task and a seed, with the labels of the training split as they are or permuted."""

    method: str
    task: str
    seed: int
    permuted: bool = False

    @classmethod
    def of(cls, values: Params, method: str, task: str, seed: int | str) -> TrainItem:
        """An item of the matrix of `params.yaml`, the seed as it stands there (`0`, `permuted-0`).

        Raises:
            ConfigurationError: One of the three is not in there.
        """
        return cls._from_seed(
            check_choice("--method", method, values.train.methods),
            check_choice("--task", task, values.prepare.tasks),
            check_choice("--seed", str(seed), map(str, values.train.seeds)),
        )

    @classmethod
    def all(cls, values: Params) -> list[TrainItem]:
        """The whole matrix, in DVC's order."""
        combinations = product(values.train.methods, values.prepare.tasks, values.train.seeds)
        return [cls._from_seed(method, task, str(seed)) for method, task, seed in combinations]

    @classmethod
    def _from_seed(cls, method: str, task: str, seed: str) -> TrainItem:
        return cls(method, task, int(seed.removeprefix(PERMUTED)), seed.startswith(PERMUTED))

    @property
    def name(self) -> str:
        """Name of its folders and of its MLflow run."""
        return f"{self.method}-{self.task}-{PERMUTED if self.permuted else ''}{self.seed}"

    @property
    def answers_as(self) -> str:
        """Under which name of a method its answers are stored."""
        return permuted_method(self.method) if self.permuted else self.method

    @property
    def results(self) -> Path:
        """Folder of the final checkpoint and the journal."""
        return Path("results/train") / self.name

    @property
    def features(self) -> Path:
        """Folder of the sender's features."""
        return Path("results/encode") / self.task


def permuted_method(method: str) -> str:
    """What a method is called where it was trained on permuted labels."""
    return f"{method}-permuted"


def probe_method(method: str) -> str:
    """What the probe on the wires of a method is called."""
    return f"{method}-probe"


def unseen_method(method: str, number: int) -> str:
    """What the answers of a method with the words of a set are called; sets are counted from 1."""
    return f"{method}-unseen-{number}"


def defining_params(values: Params, item: TrainItem) -> dict[str, Any]:
    """The parameters that the weights of an item depend on."""
    train = values.train.model_dump(mode="json", by_alias=True, exclude={"methods", "seeds", "checkpoint"})
    return {
        "method": values.methods[item.method].model_dump(mode="json"),
        "task": values.tasks[item.task].model_dump(mode="json", include={"labels", "primer", "anchor"}),
        "encode": values.encode.model_dump(mode="json"),
        # A training process has one thread, whatever runtime.threads says for the other stages.
        "runtime": values.runtime.model_dump(mode="json", exclude={"threads"}),
        "train": train,
    }
