"""Stage `baseline`: predictions of everything that has no seed, computed once per task."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from latentwire.environment import set_kernels
from latentwire.exits import run_stage
from latentwire.params.load import check_choice, load_params


def main(argv: Sequence[str] | None = None) -> None:
    """Write `results/baseline/TASK/METHOD/`."""
    parser = argparse.ArgumentParser(prog="python -m latentwire.stages.baseline", description=__doc__)
    parser.add_argument("--task", required=True, help="a key of tasks in params.yaml")
    values, asked = load_params(), parser.parse_args(argv).task
    task = check_choice("--task", asked, values.prepare.tasks)
    set_kernels(values.runtime.numerics)

    from latentwire.pipeline.baseline import predict_baselines

    predict_baselines(values, task)


if __name__ == "__main__":
    run_stage(main, stage="baseline")
