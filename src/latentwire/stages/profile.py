"""Stage `profile`: what an answer costs on this machine → `reports/execution/`.

No stage of `dvc.yaml`: its numbers differ from one execution to the next, and `dvc.lock` must not (invariant I12).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from latentwire.environment import set_kernels
from latentwire.exits import run_stage
from latentwire.params.load import load_params

EXAMPLES, REPEATS = 32, 3
TOLERANCE = 2.0


def main(argv: Sequence[str] | None = None) -> None:
    """Measure every way to an answer and write the profile; compare it with another one where that is asked for."""
    parser = argparse.ArgumentParser(prog="python -m latentwire.stages.profile", description=__doc__)
    parser.add_argument("--examples", type=int, default=EXAMPLES, help="test texts per task")
    parser.add_argument("--repeats", type=int, default=REPEATS, help="how often each is done")
    parser.add_argument("--against", type=Path, help="profile.json of another execution; exit 3 where one differs")
    parser.add_argument("--tolerance", type=float, default=TOLERANCE, help="largest factor between two times")
    options = parser.parse_args(argv)
    values = load_params()
    set_kernels(values.runtime.numerics)

    from latentwire.pipeline.profile import profile_machine

    raise SystemExit(profile_machine(values, options.examples, options.repeats, options.against, options.tolerance))


if __name__ == "__main__":
    run_stage(main)
