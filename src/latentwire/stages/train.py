"""Stage `train`: one wire for one task and seed; stop it at any time and start it again."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from latentwire import params
from latentwire.stages import entry

if TYPE_CHECKING:
    from latentwire.training.item import TrainItem
    from latentwire.training.loop import Trainer
    from unbroken.identity import Identity

STATE = Path("state")
RESULTS = Path("results/train")


def main(argv: Sequence[str] | None = None) -> None:
    """Write `results/train/METHOD-TASK-SEED/` and the metrics beside it."""
    parser = argparse.ArgumentParser(prog="python -m latentwire.stages.train", description=__doc__)
    parser.add_argument("--method", required=True, help="a key of methods in params.yaml")
    parser.add_argument("--task", required=True, help="a key of tasks in params.yaml")
    parser.add_argument("--seed", required=True, type=int, help="one of train.seeds in params.yaml")
    parser.add_argument("--state", type=Path, default=STATE, help="folder of the run folders")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the final checkpoints")
    options = parser.parse_args(argv)

    from latentwire.training.item import TrainItem

    values = params.load()
    item = TrainItem.of(values, options.method, options.task, options.seed)
    train_item(values, item, options.state, options.results / item.name)


def train_item(values: params.Params, item: TrainItem, state: Path, results: Path) -> None:
    """Train an item to its end, from where it was.

    Raises:
        unbroken.preemption.Preempted: A signal came; the next start goes on.
    """
    from latentwire.models.build import settle_runtime
    from latentwire.training.assemble import assemble
    from latentwire.training.item import identity
    from unbroken import reports
    from unbroken.identity import open_folder
    from unbroken.preemption import StopFlag

    settle_runtime(values.runtime)
    defined = identity(values, item)
    folder = open_folder(state, item.name, defined, reports.log)
    StopFlag.install().check()
    run_to_the_end(values, item, defined, folder, results, assemble(values, item))
    write_metrics(results)


def run_to_the_end(
    values: params.Params, item: TrainItem, defined: Identity, folder: Path, results: Path, trainer: Trainer
) -> None:
    """All remaining steps of a run, and the export of its final state."""
    from latentwire.models.layout import LayoutState
    from latentwire.tracking.items import tracked
    from latentwire.tracking.mirror import MlflowMirror
    from latentwire.tracking.progress import progress
    from latentwire.training.loop import train
    from unbroken.preemption import StopFlag
    from unbroken.run import Run
    from unbroken.state import Holder

    optimizer = trainer.optimizer()
    schedule = trainer.schedule(optimizer)
    state: dict[str, Holder] = {
        "wire": trainer.wire,
        "optimizer": optimizer,
        "schedule": schedule,
        "layout": LayoutState({reader.name: reader.layout for reader in trainer.receivers}),
    }
    mirror = MlflowMirror(tracked(values, item, defined.digest), experiment=values.tracking.experiment, root=Path())
    kept = values.train.checkpoint
    with (
        Run(
            folder,
            identity=defined,
            state=state,
            stop=StopFlag.install(),
            every=kept.every,
            keep=kept.keep,
            # Measured with two threads: every step takes 1.7 times as long once the writing thread is prepared; why is
            # not known. A save of this small state in the loop costs less than a hundredth of its interval.
            background=False,
            observers=[mirror],
        ) as run,
        progress(values.train.steps, item.name, run.step) as bar,
    ):
        train(trainer, run, optimizer, schedule, bar.advance)
        run.export(results)


def write_metrics(results: Path) -> None:
    """What `dvc metrics show` shows of an item: the numbers of its last step."""
    from unbroken.journal import read

    last = read(results / "journal.jsonl")[-1]
    metrics = {name: value for name, value in last.items() if name == "train/loss" or name.startswith("validation/")}
    results.with_suffix(".json").write_text(json.dumps(metrics, indent=1, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    entry(main)
