"""What must be there before anything is counted: every method × task × seed × receiver of the parameters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from latentwire.errors import ConfigurationError
from latentwire.item import TrainItem, permuted_method, precision_method, probe_method, unseen_method
from latentwire.params.load import AnyParams, Params
from latentwire.params.own import OwnParams
from latentwire.statistics.metrics import ACCURACY

CHANCE = "majority"
"""The baseline that stands for chance: the most frequent class of the training split."""
OWN_METRICS = "own_metrics"
"""Stands in ids where a mean is over tasks that are judged by different metrics."""
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
    """The trained method that it is a control of."""
    reads_receiver: bool = True
    probe_of: str | None = None
    """The trained method whose wires it reads without a receiver."""
    quantised_of: str | None = None
    """The trained method whose wires it reads at fewer bits."""
    permuted: bool = False
    """A control with trainings of its own, on permuted labels."""
    ablation: bool = False
    """Trained to be compared with the first trained method, not with baselines."""

    @property
    def stored_with(self) -> str | None:
        """The method in whose files its answers stand; None where they have files of their own."""
        return None if self.permuted else self.control_of or self.variant_of

    @property
    def variant_of(self) -> str | None:
        """The trained method whose own wires it reads in another way: without a receiver, or at fewer bits."""
        return self.probe_of or self.quantised_of

    @property
    def reads_own_wire(self) -> bool:
        """Whether it answers from what belongs to the example; controls do not, but for one with own trainings."""
        return self.control_of is None or self.permuted

    def model_for(self, receiver: str) -> str | None:
        """The model whose answers stand in the block of `receiver`; None where there is none."""
        if receiver in self.models:
            return receiver
        return None if self.reads_receiver else self.models[0]


@dataclass(frozen=True)
class UnseenWords:
    """A trained method that is asked for other words than it was trained for."""

    method: GridMethod
    asked: str
    """The trained method."""
    words: Mapping[str, str]
    """Label → word, in the order of the labels."""


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
    metrics: Mapping[str, str] = field(default_factory=dict)
    """Task → metric by which its methods are judged; accuracy where none is named."""
    unseen: Mapping[str, Mapping[str, UnseenWords]] = field(default_factory=dict)
    """Task → name → a set of other words; they have a table of their own and are no methods of the others."""

    def metric_of(self, task: str) -> str:
        """The metric by which the methods are judged on a task."""
        return self.metrics.get(task, ACCURACY)

    @property
    def has_models(self) -> bool:
        """Whether models answer, so that a method has an answer of each; otherwise methods answer by themselves."""
        return self.receivers != (NO_MODEL,)

    @property
    def metric_of_mean(self) -> str:
        """What a mean over the tasks is a mean of: one metric, or the one of each task."""
        names = {self.metric_of(task) for task in self.tasks}
        return names.pop() if len(names) == 1 else OWN_METRICS

    def expected_method(self, task: str, name: str) -> GridMethod:
        """The method whose answers are stored under a name."""
        unseen = self.unseen.get(task, {}).get(name)
        return self.methods[name] if unseen is None else unseen.method

    def quantised_names(self, item: PredictionItem) -> set[str]:
        """The methods in a folder that read its wires at fewer bits."""
        return {name for name in item.holds if name in self.methods and self.methods[name].quantised_of}

    def items(self) -> Iterator[PredictionItem]:
        """All folders of predictions, relative to `results/`."""
        for task in self.tasks:
            for method in self.methods.values():
                if method.stored_with is None:
                    yield from self._items_of(method, task)

    def _items_of(self, method: GridMethod, task: str) -> Iterator[PredictionItem]:
        beside = [other.name for other in self.methods.values() if other.stored_with == method.name]
        asked = [name for name, words in self.unseen.get(task, {}).items() if words.asked == method.name]
        holds = (method.name, *beside, *asked)
        if method.seeds is None:
            yield PredictionItem(f"baseline/{task}/{method.name}", method.name, task, None, holds)
        for seed in method.seeds or ():
            item = TrainItem(method.control_of or method.name, task, seed, method.permuted)
            yield PredictionItem(f"evaluate/{item.name}", method.name, task, seed, holds)

    def trained(self) -> list[GridMethod]:
        """Trained methods, without their controls, their probes and their wires at fewer bits."""
        own = [method for method in self.methods.values() if method.trained and method.control_of is None]
        return [method for method in own if method.variant_of is None]

    def main_methods(self) -> list[GridMethod]:
        """Trained methods that the results are about: no ablations."""
        return [method for method in self.trained() if not method.ablation]

    def baselines(self) -> list[GridMethod]:
        """Methods without seeds."""
        return [method for method in self.methods.values() if not method.trained]


def expected_grid(params: AnyParams) -> Grid:
    """The grid that the parameters declare.

    Raises:
        ConfigurationError: The baseline that stands for chance is not among the baselines.
    """
    _check_chance(params)
    return _grid_of_texts(params) if isinstance(params, Params) else _grid_without_models(params)


def _check_chance(params: AnyParams) -> None:
    if CHANCE not in params.baseline.methods:
        raise ConfigurationError(
            f"baseline.methods are {', '.join(params.baseline.methods)}, expected {CHANCE} among them, because every "
            "method is compared with chance. Next: add it in params.yaml, then `dvc repro`."
        )


def _grid_without_models(params: OwnParams) -> Grid:
    """Methods that answer by themselves: one answer of each to an example."""
    trained = [GridMethod(name, (NO_MODEL,), params.train.seeds, True) for name in params.train.methods]
    names = sorted(params.baseline.methods, key=lambda name: (name == CHANCE, name))
    baselines = [GridMethod(name, (NO_MODEL,), None, False) for name in names]
    return Grid(
        tasks={task: params.tasks[task].labels for task in params.prepare.tasks},
        methods={method.name: method for method in (*trained, *baselines)},
        receivers=(NO_MODEL,),
        metrics=params.aggregate.metrics,
    )


def _grid_of_texts(params: Params) -> Grid:
    names = {name: params.methods[name] for name in params.train.all_methods}
    receivers = tuple(dict.fromkeys(model for method in names.values() for model in method.receivers))
    sender, seeds_of = params.encode.sender, params.train.seeds_of
    trained = [
        GridMethod(name, method.receivers, seeds_of(name), True, ablation=name in params.train.ablations.methods)
        for name, method in names.items()
    ]
    controlled = [method for method in trained if not method.ablation]
    probes = [
        GridMethod(probe_method(method.name), (sender,), method.seeds, True, reads_receiver=False, probe_of=method.name)
        for method in trained
        if names[method.name].sent_vectors is not None
    ]
    quantised = [
        GridMethod(
            precision_method(method.name, precision), method.models, method.seeds, True, quantised_of=method.name
        )
        for method in controlled
        for precision in params.precisions_of(method.name)
    ]
    controls = [control for method in controlled for control in _controls(params, method)]
    baselines = [_baseline(name, receivers, sender) for name in params.baseline.methods]
    order = sorted(baselines, key=lambda method: (method.name == CHANCE, not method.reads_receiver, method.name))
    return Grid(
        tasks={task: tuple(params.tasks[task].labels) for task in params.prepare.tasks},
        methods={method.name: method for method in (*trained, *order, *probes, *quantised, *controls)},
        receivers=receivers,
        unseen={task: dict(_unseen(params, task, controlled)) for task in params.prepare.tasks},
        metrics=params.aggregate.metrics,
    )


def _unseen(params: Params, task: str, trained: Sequence[GridMethod]) -> Iterator[tuple[str, UnseenWords]]:
    for method in trained:
        for number, words in enumerate(params.tasks[task].unseen, 1):
            name = unseen_method(method.name, number)
            said = {label: words[label].strip() for label in params.tasks[task].labels}
            yield name, UnseenWords(GridMethod(name, method.models, method.seeds, True), method.name, said)


def _controls(params: Params, method: GridMethod) -> Iterator[GridMethod]:
    for control in params.methods[method.name].controls(params.evaluate.controls):
        yield GridMethod(f"{method.name}-{control}", method.models, method.seeds, True, control_of=method.name)
    if seeds := params.train.permuted_seeds:
        name = permuted_method(method.name)
        yield GridMethod(name, method.models, seeds, True, control_of=method.name, permuted=True)


def _baseline(name: str, receivers: tuple[str, ...], sender: str) -> GridMethod:
    own = {CHANCE: (NO_MODEL,), "probe": (sender,)}.get(name)
    return GridMethod(name, own or receivers, None, False, reads_receiver=own is None)
