"""From stored predictions to scores: everything that the grid expects is there, and nothing is there twice.

Gold labels are joined here and nowhere earlier. What is wrong is an `EvidenceError` that names file and example.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from latentwire.digests import sha256_of
from latentwire.errors import EvidenceError
from latentwire.statistics.calibration import top_label_confidence
from latentwire.statistics.checks import (
    PREDICT_AGAIN,
    PREDICTION_COLUMNS,
    check_answers,
    check_examples,
    check_keys,
    check_meta,
    check_models,
    join_sorted,
)
from latentwire.statistics.golds import Golds, read_golds
from latentwire.statistics.grid import NO_MODEL, Grid, GridMethod, PredictionItem
from latentwire.statistics.scores import Matrix, Scores

Key = tuple[str, str, str]
"""(task, model, method): a cell of the tables."""
MODEL_FACTS = ("family", "license", "parameters", "digest")
"""What the statistics keep of every model."""


@dataclass(frozen=True)
class PredictionSource:
    """A folder of predictions that was read."""

    item: PredictionItem
    meta: Mapping[str, Any]
    sha256: str
    rows: int

    def bytes_of(self, method: str) -> float:
        """Bytes that a method in there is given of an example; `check_meta` has seen that no size is missing."""
        return float(self.meta.get("quantised", {}).get(method, self.meta["bytes_per_example"]))


@dataclass(frozen=True)
class UnseenAnswers:
    """Answers with a set of words that no training named, in the order of seeds and examples."""

    right: Scores
    answers: Scores


@dataclass(frozen=True)
class Evidence:
    """All scores by cell, with the golds and files that they come from."""

    golds: Mapping[str, Golds]
    scores: Mapping[Key, Scores]
    """Right (1) or wrong (0), or as another metric scores the cell (`measures.py`)."""
    confidence: Mapping[Key, Scores]
    """Confidence of each answer, in the same cells."""
    answers: Mapping[Key, Scores]
    """Each answer as the number of its label among those of the task, in the same cells."""
    unseen: Mapping[Key, UnseenAnswers]
    """What trained methods answer when they are asked for other words, by task, receiver and name of the set."""
    sources: Mapping[str, PredictionSource]
    models: Mapping[str, Mapping[str, str | int | None]]

    def sources_of(self, task: str, method: str) -> list[str]:
        """Paths of the predictions of a method on a task."""
        return [path for path, source in self.sources.items() if source.item.feeds(task, method)]


def gather_evidence(results: Path, grid: Grid) -> Evidence:
    """Read and check all predictions of the grid.

    Raises:
        EvidenceError: Something is missing, doubled, unequal, not a number, or has one class only.
    """
    golds = {task: read_golds(results, task, labels) for task, labels in grid.tasks.items()}
    _check_files_present(results, grid)
    frames: list[pd.DataFrame] = []
    sources: dict[str, PredictionSource] = {}
    for item in grid.items():
        frame, source = read_item(results, item, grid, golds[item.task])
        frames.append(frame)
        sources[f"{results.name}/{item.folder}/predictions.parquet"] = source
    everything = pd.concat(frames)
    own = everything["method"].isin(grid.methods)
    cells = _score(everything[own], grid, golds)
    right, _, answers = _score(everything[~own], grid, golds)
    unseen = {key: UnseenAnswers(right[key], answers[key]) for key in right}
    return Evidence(golds, *cells, unseen, sources, read_models(results, grid))


def read_models(results: Path, grid: Grid) -> dict[str, dict[str, str | int | None]]:
    """Family, license, size and digest of every model that answers in the grid; a license may be unknown.

    Raises:
        EvidenceError: The file is missing, or a model in it.
    """
    if not grid.has_models:
        return {}
    path = results / "prepare" / "models.json"
    if not path.is_file():
        raise EvidenceError(f"{path} is missing, expected the facts of every model. Next: `dvc repro prepare`.")
    known = json.loads(path.read_text(encoding="utf-8"))
    wanted = {model for method in grid.methods.values() for model in method.models} - {NO_MODEL}
    absent = sorted(wanted - set(known))
    if absent:
        raise EvidenceError(f"{path} lacks {absent[0]}, expected {join_sorted(wanted)}. Next: `dvc repro prepare`.")
    return {model: {key: known[model][key] for key in MODEL_FACTS} for model in sorted(wanted)}


def _check_files_present(results: Path, grid: Grid) -> None:
    missing = [
        f"{results.name}/{item.folder}/{name}"
        for item in grid.items()
        for name in ("predictions.parquet", "meta.json")
        if not (results / item.folder / name).is_file()
    ]
    if missing:
        total = sum(2 for _ in grid.items())
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise EvidenceError(
            f"{len(missing)} of {total} files are missing: {', '.join(missing[:3])}{more}; expected every method, task "
            "and seed of params.yaml, because a table over the seeds that happen to exist is a choice among them. "
            f"{PREDICT_AGAIN}"
        )


def read_item(results: Path, item: PredictionItem, grid: Grid, golds: Golds) -> tuple[pd.DataFrame, PredictionSource]:
    """Read and check the predictions of one folder.

    Raises:
        EvidenceError: They are not complete, or not of these data.
    """
    path = results / item.folder / "predictions.parquet"
    frame = pd.read_parquet(path)
    where = f"{results.name}/{item.folder}/predictions.parquet"
    if tuple(frame.columns) != PREDICTION_COLUMNS:
        raise EvidenceError(
            f"{where} has the columns {list(frame.columns)}, expected {list(PREDICTION_COLUMNS)}. {PREDICT_AGAIN}"
        )
    check_keys(frame, item, where)
    check_models(frame, item, grid, where)
    check_examples(frame, golds, where)
    check_answers(frame, grid.tasks[item.task], where)
    meta = json.loads((results / item.folder / "meta.json").read_text(encoding="utf-8"))
    check_meta(meta, item, grid, golds, where)
    return frame, PredictionSource(item, meta, sha256_of(path), len(frame))


def _score(
    frame: pd.DataFrame, grid: Grid, golds: Mapping[str, Golds]
) -> tuple[dict[Key, Scores], dict[Key, Scores], dict[Key, Scores]]:
    """Right or wrong, confidence, and the number of the label, by cell."""
    right: dict[Key, Scores] = {}
    confidence: dict[Key, Scores] = {}
    answers: dict[Key, Scores] = {}
    for (task, model, name), rows in frame.groupby(["task", "model", "method"]):
        key = (str(task), str(model), str(name))
        method, known = grid.expected_method(key[0], key[2]), golds[key[0]]
        hits = rows["prediction"].to_numpy() == known.labels.loc[rows["example_id"]].to_numpy()
        right[key] = _matrix(rows, hits.astype(float), key, method, known)
        certain = top_label_confidence(np.stack(rows["scores"].tolist()))
        confidence[key] = _matrix(rows, certain, key, method, known)
        numbers = rows["prediction"].map({label: float(number) for number, label in enumerate(grid.tasks[key[0]])})
        answers[key] = _matrix(rows, numbers.to_numpy().astype(float), key, method, known)
    return right, confidence, answers


def _matrix(rows: pd.DataFrame, values: Matrix, key: Key, method: GridMethod, golds: Golds) -> Scores:
    table = rows.assign(value=values, row=rows["seed"].fillna(-1).astype(int))
    wide = table.pivot(index="row", columns="example_id", values="value")[list(golds.examples)]
    wide = wide.loc[list(method.seeds) if method.seeds is not None else [-1]]
    return Scores("/".join(key), wide.to_numpy(dtype=float), golds.examples, method.seeds)
