"""One item of the training matrix: its name, where its files are, and the identity of its run.

Imports no torch: who only starts the training processes does without.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from latentwire.params import Params, chosen
from unbroken.identity import Identity
from unbroken.jsontext import JSON
from unbroken.source import code_digest

ENTRY = "latentwire.stages.train"
"""The module whose imports are the code of a run."""
PACKAGES = ("latentwire", "unbroken")


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
            chosen("--method", method, values.train.methods),
            chosen("--task", task, values.prepare.tasks),
            chosen("--seed", seed, values.train.seeds),
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


def identity(values: Params, item: TrainItem, root: Path = Path()) -> Identity:
    """What defines an item's run: parameters, data, frozen models, code and seed (invariant I1).

    Args:
        values: All parameters.
        item: The item.
        root: The repository, which holds the results of `prepare` and `encode`.

    Raises:
        ConfigurationError: Those results are not there.
    """
    from latentwire.models.features import Features
    from latentwire.tasks.stored import MODELS, StoredTask

    task = StoredTask.open(item.task, root)
    models = json.loads((root / MODELS).read_text(encoding="utf-8"))
    features = Features.file(root / item.features)
    used = (values.encode.sender, *values.methods[item.method].receivers)
    parts: dict[str, JSON] = {
        "item": {"method": item.method, "task": item.task},
        "params": defining_params(values, item),
        "data": {"examples": task.digest, "features": _sha256(features)},
        "models": {name: models[name]["digest"] for name in sorted(set(used))},
        "code": code_digest([ENTRY], PACKAGES),
        "seed": item.seed,
    }
    return Identity(parts)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
