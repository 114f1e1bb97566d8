"""One item of the training matrix: its name and where its files are."""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from latentwire.errors import ConfigurationError
from latentwire.params.load import AnyParams, Params, check_choice
from latentwire.params.own import OwnParams
from latentwire.params.sections import PERMUTED
from latentwire.result_code import dvc_stage_name, running_code
from unbroken.canonical_json import JSON
from unbroken.run_folder.identity import Identity


@dataclass(frozen=True)
class TrainItem:
    """A method, a task and a seed, with the labels of the training split as they are or permuted."""

    method: str
    task: str
    seed: int
    permuted: bool = False
    ablation: bool = False
    """Of `train.ablations`: it has stages of its own, and no controls."""

    @classmethod
    def of(cls, values: AnyParams, method: str, task: str, seed: int | str) -> TrainItem:
        """An item of the matrix of `params.yaml`, the seed as it stands there (`0`, `permuted-0`).

        Raises:
            ConfigurationError: One of the three is not in there.
        """
        ablation = check_choice("--method", method, values.train.all_methods) not in values.train.methods
        seeds = values.train.seeds_of(method) if ablation else values.train.seeds
        task = check_choice("--task", task, values.prepare.tasks)
        return cls._from_seed(method, task, check_choice("--seed", str(seed), map(str, seeds)), ablation)

    @classmethod
    def all(cls, values: AnyParams) -> list[TrainItem]:
        """The whole matrix, in DVC's order, then that of the ablations."""
        train, tasks = values.train, values.prepare.tasks
        combinations = product(train.methods, tasks, train.seeds)
        own = [cls._from_seed(method, task, str(seed), False) for method, task, seed in combinations]
        others = [method for method in train.all_methods if method not in train.methods]
        ablations = [(method, task, seed) for method in others for task in tasks for seed in train.seeds_of(method)]
        return own + [cls(method, task, seed, ablation=True) for method, task, seed in ablations]

    @classmethod
    def _from_seed(cls, method: str, task: str, seed: str, ablation: bool) -> TrainItem:
        return cls(method, task, int(seed.removeprefix(PERMUTED)), seed.startswith(PERMUTED), ablation)

    def stage(self, kind: str) -> str:
        """The name in DVC of the stage `train` or `evaluate` of this item."""
        return dvc_stage_name(kind, self.name, self.ablation)

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


def item_stage(values: AnyParams, kind: str, name: str) -> str:
    """The name in DVC of the stage `train` or `evaluate` of an item that is known by its name."""
    known = {item.name: item.stage(kind) for item in TrainItem.all(values)}
    return known.get(name, f"{kind}@{name}")


def permuted_method(method: str) -> str:
    """What a method is called where it was trained on permuted labels."""
    return f"{method}-permuted"


def probe_method(method: str) -> str:
    """What the probe on the wires of a method is called."""
    return f"{method}-probe"


def precision_method(method: str, precision: str) -> str:
    """What a method is called where its wires are sent with fewer bits."""
    return f"{method}-{precision}"


def unseen_method(method: str, number: int) -> str:
    """What the answers of a method with the words of a set are called; sets are counted from 1."""
    return f"{method}-unseen-{number}"


def defining_params(values: AnyParams, item: TrainItem) -> dict[str, Any]:
    """The parameters that the weights of an item depend on."""
    return _of_texts(values, item) if isinstance(values, Params) else _of_own(values, item)


def own_identity(values: OwnParams, item: TrainItem, root: Path = Path()) -> Identity:
    """What defines the run of an item whose stage is the experiment's own: parameters, data, code and seed.

    Raises:
        ConfigurationError: `prepare` did not store the task.
    """
    described = root / "results/prepare" / item.task / "task.json"
    if not described.is_file():
        raise ConfigurationError(f"No {described}; expected the task {item.task}. Next: `dvc repro prepare`.")
    parts: dict[str, JSON] = {
        "item": {"method": item.method, "task": item.task},
        "params": defining_params(values, item),
        "data": json.loads(described.read_text(encoding="utf-8"))["digest"],
        "code": dict(running_code("train", root)),
        "seed": item.seed,
    }
    return Identity(parts)


_COUNTS = {"methods", "seeds", "ablations", "checkpoint"}
"""What is trained beside an item, and how often it is saved, changes no weight."""


def _of_own(values: OwnParams, item: TrainItem) -> dict[str, Any]:
    return {
        "method": values.methods[item.method].model_dump(mode="json"),
        "task": values.tasks[item.task].model_dump(mode="json"),
        "runtime": values.runtime.model_dump(mode="json"),
        "train": values.train.model_dump(mode="json", exclude=_COUNTS),
    }


def _of_texts(values: Params, item: TrainItem) -> dict[str, Any]:
    train = values.train.model_dump(mode="json", by_alias=True, exclude=_COUNTS)
    settings = values.methods[item.method]
    read = {"baseline": {"max_tokens": values.baseline.max_tokens}} if settings.sees["text"] else {}
    return {
        **read,
        "method": settings.model_dump(mode="json"),
        "task": values.tasks[item.task].model_dump(mode="json", include={"labels", "primer", "anchor"}),
        "encode": values.encode.model_dump(mode="json"),
        # A training process has one thread, whatever runtime.threads says for the other stages.
        "runtime": values.runtime.model_dump(mode="json", exclude={"threads"}),
        "train": train,
    }
