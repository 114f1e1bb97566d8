"""Stage `evaluate`: per-example predictions of every receiver of a trained method."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from latentwire.environment import set_kernels
from latentwire.exits import run_stage
from latentwire.item import TrainItem
from latentwire.params.load import load_params


def main(argv: Sequence[str] | None = None) -> None:
    """Write `results/evaluate/METHOD-TASK-SEED/`."""
    parser = argparse.ArgumentParser(prog="python -m latentwire.stages.evaluate", description=__doc__)
    parser.add_argument("--method", required=True, help="a key of methods in params.yaml")
    parser.add_argument("--task", required=True, help="a key of tasks in params.yaml")
    parser.add_argument("--seed", required=True, help="one of the method's seeds in params.yaml")
    options = parser.parse_args(argv)
    values = load_params()
    item = TrainItem.of(values, options.method, options.task, options.seed)
    set_kernels(values.runtime.numerics)

    from latentwire.pipeline.evaluate import evaluate_item

    evaluate_item(values, item)


if __name__ == "__main__":
    run_stage(main, stage="evaluate")
