"""What stages hand on to each other as files, and what a folder of them lacks (docs/adopt.md).

Whoever writes these files need not be a stage of ours: `aggregate`, `report`, MLflow and `verify` read nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from latentwire.errors import EvidenceError
from latentwire.item import TrainItem, item_stage
from latentwire.params.load import AnyParams
from latentwire.statistics.checks import join_sorted
from latentwire.statistics.curves import read_curves
from latentwire.statistics.evidence import read_item, read_models
from latentwire.statistics.golds import read_golds
from latentwire.statistics.grid import Grid, PredictionItem, expected_grid
from latentwire.statistics.runs import read_manifest
from latentwire.tasks.examples import SPLITS
from unbroken.checkpoint.store import load_checkpoint
from unbroken.errors import UnbrokenError

TASK_FACTS = ("counts", "digest", "source_sha256")
DAMAGE = (EvidenceError, UnbrokenError, OSError, ValueError, KeyError, TypeError)
"""What a missing or damaged file raises."""


@dataclass(frozen=True)
class Folder:
    """A folder that a stage has to write, and what it lacks, in a sentence; None where it is as it should be."""

    name: str
    lacks: str | None
    """Where it begins with the folder, or with a file in it, that is left to `name`, which is printed before it."""


def check_contract(root: Path, values: AnyParams) -> list[Folder]:
    """Every folder that the parameters of a repository ask for, in the order of the stages."""
    results = root / "results"
    return [
        Folder(f"results/{name}", _without_folder(_find_lack(check), results / name))
        for name, check in _list_checks(results, values)
    ]


def _without_folder(lacks: str | None, folder: Path) -> str | None:
    return lacks and lacks.removeprefix(f"{folder} ").removeprefix(f"{folder}/")


def _find_lack(check: Callable[[], object]) -> str | None:
    try:
        check()
    except DAMAGE as error:
        known = isinstance(error, EvidenceError | UnbrokenError)
        said = str(error) if known else f"{type(error).__name__}: {error}."
        return said if "Next: " in said else f"{said} Next: `dvc repro`, which writes what is not as it was."
    return None


def _list_checks(results: Path, values: AnyParams) -> Iterator[tuple[str, Callable[[], object]]]:
    grid = expected_grid(values)
    if grid.has_models:
        yield "prepare", partial(read_models, results, grid)
    for task in grid.tasks:
        yield f"prepare/{task}", partial(check_task, results, grid, task)
    for item in TrainItem.all(values):
        yield f"train/{item.name}", partial(check_training, results, grid, item, values.train.steps)
    for answers in grid.items():
        yield answers.folder, partial(check_predictions, results, grid, answers, _stage_of(values, answers))


def _stage_of(values: AnyParams, answers: PredictionItem) -> str:
    """The stage of dvc.yaml that writes a folder of predictions; an ablation has one of its own."""
    kind, _, name = answers.folder.partition("/")
    return kind if answers.seed is None else item_stage(values, kind, name)


def check_task(results: Path, grid: Grid, task: str) -> None:
    """Check `examples.parquet` and `task.json` of a task.

    Raises:
        EvidenceError: Says what is missing or wrong.
    """
    read_golds(results, task, grid.tasks[task])
    path = results / "prepare" / task / "task.json"
    facts: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    absent = [name for name in TASK_FACTS if name not in facts]
    if absent:
        raise EvidenceError(f"{path} lacks {', '.join(absent)}, expected {', '.join(TASK_FACTS)}. {_again('prepare')}")
    splits = set(facts["counts"])
    if splits != set(SPLITS):
        raise EvidenceError(
            f"{path} counts the splits {join_sorted(splits)}, expected {', '.join(SPLITS)}. {_again('prepare')}"
        )


def check_training(results: Path, grid: Grid, item: TrainItem, steps: int) -> None:
    """Check the final checkpoint of an item, its journal, and the numbers beside it.

    Raises:
        EvidenceError: Says what is missing or wrong.
        unbroken.errors.UnbrokenError: The checkpoint or its journal is damaged.
    """
    folder, again = results / "train" / item.name, _again(item.stage("train"))
    read_manifest(folder)
    checkpoint, entries = load_checkpoint(folder), read_curves(folder, steps, grid.methods[item.answers_as].models)
    if checkpoint.step != steps:
        raise EvidenceError(f"{folder} is of step {checkpoint.step}, expected {steps}. {again}")
    path = folder.with_name(f"{item.name}.json")
    if not path.is_file():
        raise EvidenceError(f"{path} is missing, expected numbers of the last step as JSON. {again}")
    for name, value in json.loads(path.read_text(encoding="utf-8")).items():
        if entries[-1].get(name) != value:
            said = f"{path} has {name} {value}, expected {entries[-1].get(name)} as at the end of the journal"
            raise EvidenceError(f"{said}. {again}")


def check_predictions(results: Path, grid: Grid, item: PredictionItem, stage: str) -> None:
    """Check `predictions.parquet` and `meta.json` of a folder that a stage writes, against the task and the weights.

    Raises:
        EvidenceError: Says what is missing or wrong.
    """
    folder = results / item.folder
    missing = [name for name in ("predictions.parquet", "meta.json") if not (folder / name).is_file()]
    if missing:
        raise EvidenceError(f"{folder} lacks {' and '.join(missing)}. {_again(stage)}")
    _, source = read_item(results, item, grid, read_golds(results, item.task, grid.tasks[item.task]))
    weights = read_manifest(results / "train" / folder.name)["state"] if item.seed is not None else None
    if source.meta["checkpoint"] != weights:
        said = f"{folder}/meta.json names the checkpoint {source.meta['checkpoint']}, expected {weights}"
        raise EvidenceError(f"{said}, the `state` of the manifest. {_again(stage)}")


def _again(stage: str) -> str:
    return f"Next: `dvc repro {stage}`."
