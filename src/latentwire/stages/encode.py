"""Stage `encode`: the sender's hidden states of every text of a task."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from latentwire.environment import set_kernels
from latentwire.exits import run_stage
from latentwire.params.load import check_choice, load_params


def main(argv: Sequence[str] | None = None) -> None:
    """Write `results/encode/TASK/`."""
    parser = argparse.ArgumentParser(prog="python -m latentwire.stages.encode", description=__doc__)
    parser.add_argument("--task", required=True, help="a key of tasks in params.yaml")
    values, asked = load_params(), parser.parse_args(argv).task
    task = check_choice("--task", asked, values.prepare.tasks)
    set_kernels(values.runtime.numerics)

    from latentwire.pipeline.encode import encode_task

    encode_task(values, task)


if __name__ == "__main__":
    run_stage(main, stage="encode")
