"""What must be there before anything is counted: every method × task × seed × receiver of the parameters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from latentwire.errors import ConfigurationError
from latentwire.params.load import Params

CHANCE = "majority"
"""The baseline that stands for chance: the most frequent class of the training split."""
NO_MODEL = "none"
"""In the column `model`: no model answers."""


@dataclass(frozen=True)
class GridMethod:
    """A method of the tables. `models` are those that answer: receivers, the probe's sender, or `none`."""

    name: str
    models: tuple[str, ...]
    seeds: tuple[int, ...] | None
    trained: bool
    control_of: str | None = None
    reads_receiver: bool = True

    def model_for(self, receiver: str) -> str | None:
        """The model whose answers stand in the block of `receiver`; None where there is none."""
        if receiver in self.models:
            return receiver
        return None if self.reads_receiver else self.models[0]


@dataclass(frozen=True)
class PredictionItem:
    """One folder of predictions, with the methods whose rows it must hold."""

    folder: str
    method: str
    task: str
    seed: int | None
    holds: tuple[str, ...]

    def feeds(self, task: str, method: str) -> bool:
        """Whether the folder has rows of this method on this task."""
        return self.task == task and method in self.holds


@dataclass(frozen=True)
class Grid:
    """Everything expected: tasks with their labels in order, methods as in the tables, receivers."""

    tasks: Mapping[str, tuple[str, ...]]
    methods: Mapping[str, GridMethod]
    receivers: tuple[str, ...]

    def items(self) -> Iterator[PredictionItem]:
        """All folders of predictions, relative to `results/`."""
        for task in self.tasks:
            for method in self.methods.values():
                if method.control_of is None:
                    yield from self._items_of(method, task)

    def _items_of(self, method: GridMethod, task: str) -> Iterator[PredictionItem]:
        controls = [other.name for other in self.methods.values() if other.control_of == method.name]
        holds = (method.name, *controls)
        if method.seeds is None:
            yield PredictionItem(f"baseline/{task}/{method.name}", method.name, task, None, holds)
        for seed in method.seeds or ():
            yield PredictionItem(f"evaluate/{method.name}-{task}-{seed}", method.name, task, seed, holds)

    def trained(self) -> list[GridMethod]:
        """Trained methods, without their controls."""
        return [method for method in self.methods.values() if method.trained and method.control_of is None]

    def baselines(self) -> list[GridMethod]:
        """Methods without seeds."""
        return [method for method in self.methods.values() if not method.trained]


def expected_grid(params: Params) -> Grid:
    """The grid that the parameters declare.

    Raises:
        ConfigurationError: The baseline that stands for chance is not among the baselines.
    """
    if CHANCE not in params.baseline.methods:
        raise ConfigurationError(
            f"baseline.methods are {', '.join(params.baseline.methods)}, expected {CHANCE} among them, because every "
            "method is compared with chance. Next: add it in params.yaml, then `dvc repro`."
        )
    names = {name: params.methods[name] for name in params.train.methods}
    receivers = tuple(dict.fromkeys(model for method in names.values() for model in method.receivers))
    trained = [GridMethod(name, method.receivers, params.train.seeds, True) for name, method in names.items()]
    controls = [
        GridMethod(f"{method.name}-{control}", method.models, method.seeds, True, control_of=method.name)
        for method in trained
        for control in params.evaluate.controls
    ]
    baselines = [_baseline(name, receivers, params.encode.sender) for name in params.baseline.methods]
    order = sorted(baselines, key=lambda method: (method.name == CHANCE, not method.reads_receiver, method.name))
    return Grid(
        tasks={task: tuple(params.tasks[task].labels) for task in params.prepare.tasks},
        methods={method.name: method for method in (*trained, *order, *controls)},
        receivers=receivers,
    )


def _baseline(name: str, receivers: tuple[str, ...], sender: str) -> GridMethod:
    own = {CHANCE: (NO_MODEL,), "probe": (sender,)}.get(name)
    return GridMethod(name, own or receivers, None, False, reads_receiver=own is None)
