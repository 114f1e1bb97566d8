"""Fetch the wheels of `assets.lock`; run by `make setup`, not a stage of the pipeline."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from latentwire.exits import run_stage
from latentwire.pipeline.fetch import fetch_wheels


def main(argv: Sequence[str] | None = None) -> None:
    """Fetch what is missing and check the hash of what is there."""
    parser = argparse.ArgumentParser(prog="python -m latentwire.stages.fetch", description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("assets"), help="where the wheels are kept")
    parser.add_argument("--lock", type=Path, default=Path("assets.lock"), help="the wheels and their hashes")
    options = parser.parse_args(argv)
    fetch_wheels(options.folder, options.lock)


if __name__ == "__main__":
    run_stage(main)
