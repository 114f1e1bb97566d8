"""One item of the training matrix: its name and where its files are."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from latentwire.params.load import Params, check_choice

ENTRY = "latentwire.stages.train"
"""The module whose imports are the code of a run."""


@dataclass(frozen=True)
class TrainItem:
    """A method, a task and a seed."""

    method: str
    task: str
    seed: int

    @classmethod
    def of(cls, values: Params, method: str, task: str, seed: int) -> TrainItem:
        """An item of the matrix of `params.yaml`.

        Raises:
            ConfigurationError: One of the three is not in there.
        """
        return cls(
            check_choice("--method", method, values.train.methods),
            check_choice("--task", task, values.prepare.tasks),
            check_choice("--seed", seed, values.train.seeds),
        )

    @classmethod
    def all(cls, values: Params) -> list[TrainItem]:
        """The whole matrix, in DVC's order."""
        combinations = product(values.train.methods, values.prepare.tasks, values.train.seeds)
        return [cls(*combination) for combination in combinations]

    @property
    def name(self) -> str:
        """Name of its folders and of its MLflow run."""
        return f"{self.method}-{self.task}-{self.seed}"

    @property
    def results(self) -> Path:
        """Folder of the final checkpoint and the journal."""
        return Path("results/train") / self.name

    @property
    def features(self) -> Path:
        """Folder of the sender's features."""
        return Path("results/encode") / self.task


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
