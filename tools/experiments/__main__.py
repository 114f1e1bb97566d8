"""`python -m tools.experiments`: run the experiments that have no stored result, and write docs/experiments.md.

Each trains with the real stages under DVC in a clone below `.cache/experiments`, one after the other on one process.
Stop it whenever you like: the same command goes on from the last checkpoint.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from latentwire.errors import ConfigurationError
from latentwire.exits import run_program
from tools.experiments.page import PAGE, write_page
from tools.experiments.plan import Plan, read_plan
from tools.experiments.stored import missing_trials, read_reference, write_reference, write_result
from tools.experiments.workbench import Workbench


def main(argv: Sequence[str] | None = None) -> None:
    """Run what is missing, of all experiments or of those that are named, and write the page."""
    parser = argparse.ArgumentParser(prog="python -m tools.experiments", description=__doc__)
    parser.add_argument("experiments", nargs="*", help="names in experiments/experiments.yaml; all without any")
    parser.add_argument("--page-only", action="store_true", help="run nothing: write the page from what is stored")
    options = parser.parse_args(argv)
    root = Path()
    plan = read_plan(root)
    unknown = sorted(set(options.experiments) - set(plan.experiments))
    if unknown:
        raise ConfigurationError(
            f"No experiment {', '.join(unknown)}; expected some of {', '.join(plan.experiments)}. "
            "Next: name one of them, or add it to experiments/experiments.yaml."
        )
    if not options.page_only:
        run_missing(root, plan, options.experiments)
    (root / PAGE).write_text(write_page(root, plan), encoding="utf-8")


def run_missing(root: Path, plan: Plan, only: Sequence[str] = ()) -> None:
    """Run, one by one, what has no stored result, and store it.

    Raises:
        LatentWireError: A stage failed.
    """
    trials = [trial for trial in missing_trials(root, plan) if not only or trial.experiment in only]
    tasks = [task for task in plan.tasks if read_reference(root, task, plan.base) is None]
    if not trials and not tasks:
        return
    bench = Workbench.open(root)
    for number, trial in enumerate(trials, 1):
        print(f"experiment {number} of {len(trials)}: {trial.name}", flush=True)
        write_result(root, trial, bench.run_trial(trial))
    for task in tasks:
        write_reference(root, task, plan.base, bench.measure_without_wire(task, plan.base))


if __name__ == "__main__":
    sys.exit(run_program(main))
