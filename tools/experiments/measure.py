"""`python -m tools.experiments.measure`: what validation texts say of a trained wire, or without any, as JSON.

Runs in the clone in which DVC trained, with the kernels that results are promised for, as a stage does.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from latentwire.environment import set_kernels
from latentwire.exits import run_stage
from latentwire.item import TrainItem
from latentwire.output_files import write_text_file
from latentwire.params.load import load_params


def main(argv: Sequence[str] | None = None) -> None:
    """Write the facts of a trained item, or of its task where nothing is trained, to a file."""
    parser = argparse.ArgumentParser(prog="python -m tools.experiments.measure", description=__doc__)
    parser.add_argument("--method", help="a trained method; without it, what reads the texts or the features is asked")
    parser.add_argument("--task", required=True, help="a key of tasks in params.yaml")
    parser.add_argument("--seed", default="0", help="one of train.seeds in params.yaml")
    parser.add_argument("--out", type=Path, required=True, help="the file that is written")
    options = parser.parse_args(argv)
    values = load_params()
    set_kernels(values.runtime.numerics)

    from latentwire.models.build import configure_torch
    from tools.experiments.validation import measure_trained, measure_without_wire

    configure_torch(values.runtime, threads=1)  # as in training, so that its last validation comes out again
    if options.method:
        facts = measure_trained(values, TrainItem.of(values, options.method, options.task, options.seed))
    else:
        facts = measure_without_wire(values, options.task)
    write_text_file(options.out, json.dumps(facts, sort_keys=True) + "\n")


if __name__ == "__main__":
    run_stage(main)
