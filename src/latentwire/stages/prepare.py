"""Stage `prepare`: examples of every task, and every frozen model verified and ready to load."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from latentwire.exits import run_stage
from latentwire.local_inputs import check_local_inputs
from latentwire.params.load import load_params


def main(argv: Sequence[str] | None = None) -> None:
    """Write `results/prepare/`."""
    argparse.ArgumentParser(prog="python -m latentwire.stages.prepare", description=__doc__).parse_args(argv)

    from latentwire.pipeline.prepare import prepare_inputs

    values = load_params()
    check_local_inputs(values)
    prepare_inputs(values)


if __name__ == "__main__":
    run_stage(main, stage="prepare")
