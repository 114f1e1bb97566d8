"""Stage `train`: a method for a task and a seed, on one process or several; stop it anytime and start it again."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from latentwire.console.logging import configure_logging
from latentwire.environment import set_kernels
from latentwire.exits import run_stage
from latentwire.item import TrainItem
from latentwire.params.load import Params, load_params
from latentwire.training.process_count import count_processes, count_processes_for
from unbroken import environment
from unbroken.launcher.launch import launch_ranks
from unbroken.preemption import StopFlag

STATE = Path("state")
RESULTS = Path("results/train")


def main(argv: Sequence[str] | None = None) -> None:
    """Write `results/train/METHOD-TASK-SEED/` and the metrics beside it."""
    parser = argparse.ArgumentParser(prog="python -m latentwire.stages.train", description=__doc__)
    parser.add_argument("--method", required=True, help="a key of methods in params.yaml")
    parser.add_argument("--task", required=True, help="a key of tasks in params.yaml")
    parser.add_argument("--seed", required=True, help="one of the method's seeds in params.yaml")
    parser.add_argument("--state", type=Path, default=STATE, help="folder of the run folders")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the final checkpoints")
    options = parser.parse_args(argv)
    values = load_params()
    item = TrainItem.of(values, options.method, options.task, options.seed)
    set_kernels(values.runtime.numerics)
    _start_ranks(values)

    from latentwire.pipeline.train import train_item

    train_item(values, item, options.state, options.results / item.name)


def _start_ranks(values: Params) -> None:
    """Where several processes train together: start this command as each of them, and leave with their exit code.

    A process that was started so is one of them, and returns. The parent never imports torch.
    """
    place, count = environment.read_rank_info(), count_processes(values)
    if place is None and (count > 1 or environment.read_nodes() is not None):
        # The ranks speak; that their parent is at work says nothing.
        configure_logging(level=logging.WARNING)
        rule = partial(count_processes_for, values)
        raise SystemExit(launch_ranks(count, StopFlag.install(), limit=values.train.shards, rule=rule))
    if place is not None and place.rank > 0:
        configure_logging(level=logging.WARNING, rank=place.rank)


if __name__ == "__main__":
    run_stage(main, stage="train")
