"""`unbroken prove` on the real train stage of one item, with data, models and parameters as they are."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from latentwire.environment import sqlite_uri, use_one_process, use_tracking_uri
from latentwire.item import TrainItem
from latentwire.params.load import load_any_params
from latentwire.result_code import stage_program
from unbroken.prove.command import run_prove_command


def prove_item(method: str, task: str, seed: int, options: Sequence[str]) -> int:
    """Prove one item and return the exit code of `python -m unbroken prove`, which documents the options.

    Raises:
        ConfigurationError: The item is not in the matrix of `params.yaml`.
    """
    TrainItem.of(load_any_params(Path("params.yaml")), method, task, seed)
    item = ("--method", method, "--task", task, "--seed", str(seed))
    folders = ("--state", "{folder}", "--results", "{folder}/results")
    stage = (sys.executable, "-m", stage_program("train"), *item, *folders)
    with tempfile.TemporaryDirectory(prefix="latentwire-prove-") as store:
        use_tracking_uri(sqlite_uri(Path(store) / "mlflow.db"))
        use_one_process()
        return run_prove_command(["prove", *options, "--", *stage])
