"""Stage `train`: one wire for one task and seed, on one process or several; stop it at any time and start it again."""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from latentwire.console.logging import configure
from latentwire.exits import entry
from latentwire.item import TrainItem
from latentwire.params import load as params
from latentwire.training.process_count import on_machine, processes
from unbroken import environment
from unbroken.preemption import StopFlag

if TYPE_CHECKING:
    from latentwire.training.loop import Trainer
    from unbroken.exact.group import Group
    from unbroken.run_folder.identity import Identity

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

    values = params.load()
    item = TrainItem.of(values, options.method, options.task, options.seed)
    place = environment.read_rank_info()
    count = processes(values)
    if place is None and (count > 1 or environment.read_nodes() is not None):
        start_together(count, values)
    if place is not None and place.rank > 0:
        configure(level=logging.WARNING, rank=place.rank)
    train_item(values, item, options.state, options.results / item.name)


def start_together(count: int, values: params.Params) -> None:
    """Start this command as several ranks, `count` of them on this machine, and leave with their exit code."""
    from unbroken.processes.launch import launch_ranks

    # The ranks speak; that their parent is at work says nothing.
    configure(level=logging.WARNING)
    shards = values.train.shards
    raise SystemExit(
        launch_ranks(count, StopFlag.install(), limit=shards, rule=lambda *found: on_machine(values, *found))
    )


def train_item(values: params.Params, item: TrainItem, state: Path, results: Path) -> None:
    """Train an item to its end, from where it was, as one rank of those that were started together.

    Raises:
        unbroken.preemption.Preempted: A signal came to some rank; the next start goes on.
    """
    from latentwire.training.assemble import assemble, meet
    from latentwire.training.run_identity import identity
    from unbroken.errors import log_sentence
    from unbroken.run_folder.identity import open_run_folder

    stop = StopFlag.install()
    with closing(meet(values.runtime, stop)) as group:
        defined = identity(values, item)
        folder = open_run_folder(state, item.name, defined, log_sentence if group.rank == 0 else lambda sentence: None)
        trainer = assemble(values, item, group)
        stop.check(group)
        run_to_the_end(values, item, defined, folder, results, trainer, group)
        if group.rank == 0:
            write_metrics(results)
        group.barrier()


def run_to_the_end(
    values: params.Params,
    item: TrainItem,
    defined: Identity,
    folder: Path,
    results: Path,
    trainer: Trainer,
    group: Group,
) -> None:
    """All remaining steps of a run, and the export of its final state."""
    from latentwire.console.progress import progress, silent
    from latentwire.image import recorded
    from latentwire.models.layout import LayoutState
    from latentwire.tracking.mirror import MlflowMirror
    from latentwire.tracking.publish import tracked
    from latentwire.training.assemble import gradients_of
    from latentwire.training.loop import train
    from latentwire.training.numerics import execution, numerics
    from latentwire.training.shard_batching import settle
    from unbroken.checkpoint.state import Holder
    from unbroken.exact.randomness import seed_all
    from unbroken.run import Run

    stop, first = StopFlag.install(), group.rank == 0
    optimizer = trainer.optimizer()
    schedule = trainer.schedule(optimizer)
    state: dict[str, Holder] = {
        "wire": trainer.wire,
        "optimizer": optimizer,
        "schedule": schedule,
        "layout": LayoutState({reader.name: reader.layout for reader in trainer.receivers}),
    }
    facts = numerics(values.train, group)
    gradients = gradients_of(trainer, group)
    together = settle(gradients, folder, facts)
    # The probe drew for the shards of this process; the run goes on from a state that does not tell which.
    seed_all(item.seed, purpose="training")
    stop.check(group)
    kept = values.train.checkpoint
    mirror = MlflowMirror(tracked(values, item, defined.digest), experiment=values.tracking.experiment, root=Path())
    with (
        Run(
            folder,
            identity=defined,
            state=state,
            stop=stop,
            group=group,
            numerics=facts,
            every=kept.every,
            keep=kept.keep,
            preemptions_per_hour=kept.preemptions_per_hour,
            observers=[mirror] if first else [],
            start_info={"image": recorded(), **execution(values.runtime, group), "together": together},
        ) as run,
        progress(values.train.steps, item.name, run.step) if first else silent() as bar,
    ):
        train(trainer, gradients, run, optimizer, schedule, bar.advance)
        run.export(results)


def write_metrics(results: Path) -> None:
    """What `dvc metrics show` shows of an item: the numbers of its last step."""
    from unbroken.run_folder.journal import read_journal

    last = read_journal(results / "journal.jsonl")[-1]
    metrics = {name: value for name, value in last.items() if name == "train/loss" or name.startswith("validation/")}
    results.with_suffix(".json").write_text(json.dumps(metrics, indent=1, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    entry(main)
