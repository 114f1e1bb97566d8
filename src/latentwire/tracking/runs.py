"""One MLflow run per identity: found by its tag, filled so that sending again adds nothing.

A point's time stamp is the run's start plus one millisecond a step. It has to be a function of the step:
MLflow drops a point that it already holds with the same time stamp, so a request that was still under way
when its sender was killed and is then sent again leaves one point, not two. Real times of an execution are in
events.jsonl and the system metrics.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from latentwire.item import TrainItem, defining_params
from latentwire.params.load import AnyParams
from latentwire.tracking.names import flatten_params, metric_name
from latentwire.tracking.store import Experiment, TrackingError, TrackingStore, open_experiment, tracking_errors

T = TypeVar("T")
Record = Mapping[str, Any]  # a line of a journal: {"step": 1-based int, metric name: number}

Point = tuple[str, int, float]  # metric, step, value

IDENTITY_TAG = "identity"
CHUNK = 500  # points a request: about 100 ms of SQLite, far from MLflow's limits of 1000 points and 1 MB
PARAMS_A_REQUEST = 100  # MLflow's limit


@dataclass
class TrackedRun:
    """One MLflow run and what it already holds."""

    experiment: Experiment
    run_id: str
    start_ms: int
    status: str
    finished_ms: int | None
    """End time (milliseconds since 1970) if it was FINISHED when it was opened."""
    params: Mapping[str, str]
    last: dict[str, int]
    """Newest step of each metric."""
    tags: Mapping[str, str] = field(default_factory=dict)
    data_sets: Collection[str] = ()
    """Digests of the data sets that it is known to have read."""
    grown: bool = False
    """Whether points were added since it was opened."""

    def log_params(self, params: Mapping[str, object]) -> list[str]:
        """Log the flattened `params` that the run lacks; return the names of those it holds differently."""
        flat = flatten_params(params)
        entities = importlib.import_module("mlflow.entities")
        missing = [entities.Param(key, value) for key, value in flat.items() if key not in self.params]
        for chunk in _chunks(missing, PARAMS_A_REQUEST):
            self.experiment.client.log_batch(self.run_id, params=chunk)
        differing = sorted(key for key, value in self.params.items() if flat.get(key, value) != value)
        self.params = {**flat, **self.params}
        return differing

    def send(self, records: Iterable[Record]) -> int:
        """Log the points of `records` that the run lacks, in order of their steps; return their number."""
        return self.log_points([point for record in records for point in split_metrics(record)])

    def log_points(self, points: Iterable[Point]) -> int:
        """Log those of `points`, in order of their steps, that the run lacks; return their number."""
        new = [point for point in points if self.lacks(point)]
        entities = importlib.import_module("mlflow.entities")
        for chunk in _chunks(new, CHUNK):
            metrics = [entities.Metric(key, value, self.start_ms + step, step) for key, step, value in chunk]
            self.experiment.client.log_batch(self.run_id, metrics=metrics)
            self.grown = True
            self.last.update({key: step for key, step, _ in chunk})
        return len(new)

    def unsent(self, records: Iterable[Record]) -> int:
        """Number of points of `records` that the run lacks."""
        return sum(self.lacks(point) for record in records for point in split_metrics(record))

    def lacks(self, point: Point) -> bool:
        """Whether `point` is newer than everything that the run holds of its metric."""
        key, step, _ = point
        return step > self.last.get(key, -1)

    def resume(self) -> None:
        """Show the run as running, whatever it ended as before."""
        if self.status != "RUNNING":
            self.experiment.client.update_run(self.run_id, status="RUNNING")
            self.status = "RUNNING"

    def close(self, status: str) -> None:
        """End the run as `status`; one that was finished and has nothing new keeps its end time."""
        client = self.experiment.client
        if status == "SCHEDULED":
            client.update_run(self.run_id, status=status)
        else:
            unchanged = status == "FINISHED" and not self.grown
            client.set_terminated(self.run_id, status, self.finished_ms if unchanged else None)
        self.status = status


def split_metrics(record: Record) -> list[Point]:
    """The points of a line of a journal; a metric that is None at this step has none."""
    step = int(record["step"])
    values = ((key, value) for key, value in record.items() if key != "step" and value is not None)
    return [(metric_name(key), step, float(value)) for key, value in values]


def open_run(experiment: Experiment, identity: str, name: str, tags: Mapping[str, str]) -> TrackedRun:
    """Open the one run of `identity` in `experiment`; it is created (RUNNING, called `name`) if there is none.

    A SQLite store is locked meanwhile. With a server, two processes (or one request sent twice) can create two runs:
    the oldest is kept, the others go to MLflow's trash, here or at the next opening.

    Raises:
        TrackingError: MLflow does not find the run that it created.
    """
    client = experiment.client
    all_tags = {**tags, IDENTITY_TAG: identity}
    with experiment.store.locked():
        if not _runs_of(experiment, identity):
            client.create_run(experiment.id, tags=all_tags, run_name=name)
        runs = _runs_of(experiment, identity)
    if not runs:
        raise TrackingError(
            f"MLflow at {experiment.store.uri} created the run '{name}' but does not find it by its tag "
            f"{IDENTITY_TAG}={identity}; expected exactly one. Next: look at it with `mlflow ui` and run again."
        )
    kept, *others = runs
    for run in others:
        client.delete_run(run.info.run_id)
    _set_missing_tags(client, kept, all_tags)
    return _tracked(experiment, kept)


def _runs_of(experiment: Experiment, identity: str) -> list[Any]:
    """The runs with this identity that are not in the trash, oldest first."""
    runs = experiment.client.search_runs([experiment.id], f"tags.{IDENTITY_TAG} = '{identity}'")
    return sorted(runs, key=lambda run: (run.info.start_time, run.info.run_id))


def _set_missing_tags(client: Any, run: Any, tags: Mapping[str, str]) -> None:
    entities = importlib.import_module("mlflow.entities")
    changed = [entities.RunTag(key, value) for key, value in tags.items() if run.data.tags.get(key) != value]
    if changed:
        client.log_batch(run.info.run_id, tags=changed)


def _tracked(experiment: Experiment, run: Any) -> TrackedRun:
    """What MLflow holds of `run`."""
    # The public data have no steps, and whole histories are slow to read; MLflow's own monitor does this.
    newest = {metric.key: metric.step for metric in run.data._metric_objs}
    info = run.info
    finished_ms = info.end_time if info.status == "FINISHED" else None
    return TrackedRun(
        experiment,
        info.run_id,
        info.start_time,
        info.status,
        finished_ms,
        dict(run.data.params),
        newest,
        dict(run.data.tags),
        [read.dataset.digest for read in run.inputs.dataset_inputs],
    )


def _chunks(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """Consecutive slices of at most `size` items."""
    return (items[start : start + size] for start in range(0, len(items), size))


@dataclass(frozen=True)
class TrackedItem:
    """What is mirrored: the run's name, the digest that identifies it, and what MLflow shows beside it."""

    name: str
    identity: str
    params: Mapping[str, object] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)

    def open(self, store: TrackingStore, experiment: str, report: Callable[[str], None]) -> TrackedRun:
        """Open the one MLflow run of this item, with its parameters and tags.

        Raises:
            TrackingError: MLflow failed.
        """
        where = open_experiment(store, experiment)
        with tracking_errors(store):
            run = open_run(where, self.identity, self.name, {**self.tags, "item": self.name})
            differing = run.log_params(self.params)
        if differing:
            report(
                f"MLflow's run '{self.name}' has other values of {', '.join(differing)} than this start, "
                "expected the same for one identity; the values of its first start are kept there."
            )
        return run


def tracked_item(values: AnyParams, item: TrainItem, identity: str) -> TrackedItem:
    """Name, identity, parameters and tags of an item's one MLflow run."""
    tags = {"method": item.answers_as, "task": item.task, "seed": str(item.seed), "stage": "train"}
    return TrackedItem(item.name, identity, {**defining_params(values, item), "seed": item.seed}, tags)
