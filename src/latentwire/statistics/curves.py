"""Learning curves from the journals of the runs, as one long table."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pandas as pd

from latentwire.errors import EvidenceError
from latentwire.statistics.grid import NO_MODEL, Grid
from unbroken.run_folder import journal

CURVE_COLUMNS = ("task", "method", "seed", "series", "step", "value", "run")
LOSS_SERIES = "train/loss"
ACCURACY_SERIES = "validation/accuracy"
_AGAIN = "Next: `dvc repro`."


def learning_curves(results: Path, grid: Grid, steps: int) -> pd.DataFrame:
    """Training loss at every step, and validation accuracy by receiver where it was taken, of all runs.

    Raises:
        EvidenceError: A journal is missing, ends early or late, lacks a series, or has a value that is no number.
        unbroken.errors.CheckpointError: A line of a journal is damaged.
    """
    rows = [
        (task, method.name, seed, series, entry["step"], entry[series], f"{method.name}-{task}-{seed}")
        for task in grid.tasks
        for method in grid.trained()
        for seed in method.seeds or ()
        for entry in read_curves(results / "train" / f"{method.name}-{task}-{seed}", steps, method.models)
        for series in _series(entry)
    ]
    return pd.DataFrame(rows, columns=list(CURVE_COLUMNS))


def accuracy_series(model: str) -> str:
    """Under which name a journal has the accuracy of a model, or of a method that answers by itself."""
    return ACCURACY_SERIES if model == NO_MODEL else f"{ACCURACY_SERIES}/{model}"


def _series(entry: dict[str, Any]) -> list[str]:
    return [name for name in sorted(entry) if name == LOSS_SERIES or name.startswith(ACCURACY_SERIES)]


def read_curves(folder: Path, steps: int, models: tuple[str, ...]) -> list[dict[str, Any]]:
    """The journal of a finished run, which has the series of these models.

    Raises:
        EvidenceError: As of `learning_curves`.
        unbroken.errors.CheckpointError: A line is damaged.
    """
    path = folder / journal.JOURNAL_FILE
    if not path.is_file():
        raise EvidenceError(f"{path} is missing, expected the journal of a finished run. {_AGAIN}")
    entries = journal.read_journal(path)
    if len(entries) != steps:
        raise EvidenceError(f"{path} has {len(entries)} steps, expected {steps}: the run is not finished. {_AGAIN}")
    present = {name for entry in entries for name in _series(entry)}
    wanted = {LOSS_SERIES, *map(accuracy_series, models)}
    if present != wanted or any(LOSS_SERIES not in entry for entry in entries):
        raise EvidenceError(
            f"{path} has the series {', '.join(sorted(present))}, expected {', '.join(sorted(wanted))}, the loss at "
            f"every step. {_AGAIN}"
        )
    for entry in entries:
        for name in _series(entry):
            if not math.isfinite(entry[name]):
                raise EvidenceError(
                    f"{path} has {name} = {entry[name]} at step {entry['step']}, expected a number: the training "
                    "diverged. Next: lower train.lr in params.yaml, then `dvc repro`."
                )
    return entries
