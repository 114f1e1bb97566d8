"""The numeric core of the pipeline in the current folder, part after part: no MLflow, no LaTeX, no other process."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from latentwire.console.progress import no_progress_bar
from latentwire.item import TrainItem
from latentwire.models.build import configure_torch
from latentwire.params.load import Params
from latentwire.pipeline.baseline import predict_baselines
from latentwire.pipeline.encode import encode_task
from latentwire.pipeline.evaluate import evaluate_item
from latentwire.pipeline.train import TrainRun
from latentwire.reporting.figures import draw_accuracies
from latentwire.reporting.report_data import read_report_data
from latentwire.statistics.curves import learning_curves
from latentwire.statistics.grid import expected_grid
from latentwire.statistics.summary import compute_statistics
from latentwire.statistics.write import write_statistics
from latentwire.tracking.mirror import MlflowMirror
from latentwire.training.loop import train_method
from latentwire.training.shard_batching import choose_shards_per_pass
from unbroken.exact.group import SOLO
from unbroken.exact.randomness import seed_all
from unbroken.preemption import StopFlag

RESULTS = Path("results")


class UntrackedRun(TrainRun):
    """A training of which MLflow, whose import takes half a minute under qemu, is not told."""

    @property
    def observers(self) -> list[MlflowMirror]:
        """Nobody."""
        return []


def encode(values: Params) -> None:
    """Hidden states of the sender."""
    for task in values.prepare.tasks:
        encode_task(values, task)


def train(values: Params) -> None:
    """Every step of every item, as the stage does it in one process."""
    configure_torch(values.runtime, threads=1)
    for item in TrainItem.all(values):
        training = UntrackedRun.assemble(values, item, Path("state"), SOLO)
        batching = choose_shards_per_pass(training.gradients, training.folder, training.numerics)
        seed_all(item.seed, purpose="training")
        with training.open(StopFlag.install(), batching) as run, no_progress_bar() as bar:
            parts = (training.gradients, run, training.optimizer, training.schedule)
            train_method(training.trainer, *parts, bar.advance)
            run.export(item.results)


def evaluate(values: Params) -> None:
    """Predictions and samples of every item."""
    for item in TrainItem.all(values):
        evaluate_item(values, item)


def predict(values: Params) -> None:
    """Predictions of all baselines, the probe among them."""
    for task in values.prepare.tasks:
        predict_baselines(values, task)


def aggregate(values: Params) -> None:
    """The statistics."""
    curves = learning_curves(RESULTS, expected_grid(values), values.train.steps)
    write_statistics(RESULTS / "aggregate", compute_statistics(RESULTS, values), curves)


def draw(values: Params) -> None:
    """A figure, as PDF, PNG and SVG."""
    draw_accuracies(read_report_data(RESULTS / "aggregate", values.report.names), RESULTS / "figures")


PARTS: Mapping[str, Callable[[Params], None]] = {
    "encode": encode,
    "train": train,
    "evaluate": evaluate,
    "baseline": predict,
    "aggregate": aggregate,
    "figures": draw,
}
"""Folder under `results/` → what writes it, in their order."""


def compute_parts(values: Params) -> Iterator[tuple[str, str]]:
    """Run all parts; yields the name of each with the SHA-256 of the names and bytes of what it wrote."""
    for part, compute in PARTS.items():
        compute(values)
        yield part, digest_files(path for path in (RESULTS / part).rglob("*") if path.is_file())


def digest_files(paths: Iterable[Path]) -> str:
    """SHA-256 of names and bytes."""
    everything = hashlib.sha256()
    for path in sorted(paths):
        everything.update(path.as_posix().encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return everything.hexdigest()
