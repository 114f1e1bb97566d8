"""From stored predictions to scores: everything that the grid expects is there, and nothing is there twice.

Gold labels are joined here and nowhere earlier. Every refusal is an `EvidenceError` that names file and
example.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from latentwire.errors import EvidenceError
from latentwire.statistics.calibration import confidences
from latentwire.statistics.grid import NO_MODEL, Grid, Item, Method
from latentwire.statistics.scores import Matrix, Scores, digest_of
from latentwire.tasks.examples import digest, read

COLUMNS = ("method", "model", "task", "seed", "example_id", "prediction", "scores")
META = frozenset({"method", "task", "seed", "data_digest", "sees", "bytes_per_example", "checkpoint", "slots"})
"""Facts that must be in the `meta.json` beside predictions."""
Key = tuple[str, str, str]
"""(task, model, method): a cell of the tables."""


@dataclass(frozen=True)
class Golds:
    """The test split of a task: `labels` by example, in the order of the example ids."""

    labels: pd.Series[str]
    data_digest: str

    @property
    def examples(self) -> tuple[str, ...]:
        return tuple(str(example) for example in self.labels.index)

    def counts(self) -> dict[str, int]:
        return {str(label): int(count) for label, count in self.labels.value_counts().sort_index().items()}


@dataclass(frozen=True)
class Source:
    """A folder of predictions that was read."""

    item: Item
    meta: Mapping[str, Any]
    sha256: str
    rows: int


@dataclass(frozen=True)
class Evidence:
    """All scores by cell, with the golds and files that they come from."""

    golds: Mapping[str, Golds]
    scores: Mapping[Key, Scores]
    """Right (1) or wrong (0)."""
    confidence: Mapping[Key, Scores]
    """Confidence of each answer, in the same cells."""
    sources: Mapping[str, Source]
    models: Mapping[str, Mapping[str, str | None]]


def gather(results: Path, grid: Grid) -> Evidence:
    """Read and check all predictions of the grid.

    Raises:
        EvidenceError: Something is missing, doubled, unequal, not a number, or has one class only.
    """
    golds = {task: read_golds(results, task, labels) for task, labels in grid.tasks.items()}
    _refuse_missing(results, grid)
    frames: list[pd.DataFrame] = []
    sources: dict[str, Source] = {}
    for item in grid.items():
        frame, source = _read_item(results, item, grid, golds[item.task])
        frames.append(frame)
        sources[f"{results.name}/{item.folder}/predictions.parquet"] = source
    right, confidence = _score(pd.concat(frames), grid, golds)
    return Evidence(golds, right, confidence, sources, read_models(results, grid))


def read_models(results: Path, grid: Grid) -> dict[str, dict[str, str | None]]:
    """Family, license and digest of every model that answers in the grid; a license may be unknown.

    Raises:
        EvidenceError: The file is missing, or a model in it.
    """
    path = results / "prepare" / "models.json"
    if not path.is_file():
        raise EvidenceError(f"{path} is missing, expected the facts of every model. Next: `dvc repro prepare`.")
    known = json.loads(path.read_text(encoding="utf-8"))
    wanted = {model for method in grid.methods.values() for model in method.models} - {NO_MODEL}
    absent = sorted(wanted - set(known))
    if absent:
        raise EvidenceError(f"{path} lacks {absent[0]}, expected {_listed(wanted)}. Next: `dvc repro prepare`.")
    return {model: {key: known[model][key] for key in ("family", "license", "digest")} for model in sorted(wanted)}


def read_golds(results: Path, task: str, labels: tuple[str, ...]) -> Golds:
    """Gold labels of the test split of `task`, which must hold more than one class.

    Raises:
        EvidenceError: The split is missing, has one class only, an unknown label or an example twice, or is not
        what `prepare` wrote.
    """
    path = results / "prepare" / task / "examples.parquet"
    facts = path.with_name("task.json")
    for needed in (path, facts):
        if not needed.is_file():
            raise EvidenceError(
                f"{needed} is missing, expected the prepared texts of {task}. Next: `dvc repro prepare`."
            )
    examples = pd.read_parquet(path, columns=["example_id", "split", "label"])
    test = examples[examples["split"] == "test"].set_index("example_id")["label"].sort_index()
    classes = sorted(set(test))
    if len(classes) < 2 or not set(classes) <= set(labels):
        raise EvidenceError(
            f"The test split of {task} in {path} has the classes {classes}, expected at least two of "
            f"{list(labels)}; "
            "an accuracy over one class says nothing. Next: raise prepare.limits.test, then `dvc repro`."
        )
    if test.index.has_duplicates:
        raise EvidenceError(
            f"Example {test.index[test.index.duplicated()][0]} is twice in the test split of {task} in "
            f"{path}, "
            "expected once. Next: `dvc repro prepare`."
        )
    stored = str(json.loads(facts.read_text(encoding="utf-8"))["digest"])
    _refuse_edited(path, stored)
    return Golds(test, stored)


def _refuse_edited(path: Path, stored: str) -> None:
    found = digest(read(path))
    if found != stored:
        raise EvidenceError(
            f"{path} has the digest {found[:12]}, expected {stored[:12]} as in the task.json beside it: texts or "
            "labels were changed after `prepare` wrote them. Next: `dvc repro prepare`."
        )


def _refuse_missing(results: Path, grid: Grid) -> None:
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
            f"{len(missing)} of {total} files are missing: {', '.join(missing[:3])}{more}; expected every "
            "method, task "
            "and seed of params.yaml, because a table over the seeds that happen to exist is a choice among "
            "them. "
            "Next: `dvc repro evaluate baseline`."
        )


def _read_item(results: Path, item: Item, grid: Grid, golds: Golds) -> tuple[pd.DataFrame, Source]:
    path = results / item.folder / "predictions.parquet"
    frame = pd.read_parquet(path)
    where = f"{results.name}/{item.folder}/predictions.parquet"
    if tuple(frame.columns) != COLUMNS:
        raise EvidenceError(
            f"{where} has the columns {list(frame.columns)}, expected {list(COLUMNS)}. Next: `dvc repro "
            "evaluate baseline`."
        )
    _check_keys(frame, item, where)
    _check_models(frame, item, grid, where)
    _check_examples(frame, golds, where)
    _check_answers(frame, grid.tasks[item.task], where)
    meta = json.loads((results / item.folder / "meta.json").read_text(encoding="utf-8"))
    _check_meta(meta, item, golds, where)
    return frame, Source(item, meta, hashlib.sha256(path.read_bytes()).hexdigest(), len(frame))


def _check_keys(frame: pd.DataFrame, item: Item, where: str) -> None:
    seeds = {None if pd.isna(seed) else int(seed) for seed in frame["seed"].unique()}
    found = (set(frame["method"]), set(frame["task"]), seeds)
    expected = (set(item.holds), {item.task}, {item.seed})
    for name, has, wants in zip(("methods", "tasks", "seeds"), found, expected, strict=True):
        if has != wants:
            raise EvidenceError(
                f"{where} holds the {name} {_listed(has)}, expected {_listed(wants)}. Next: `dvc repro "
                "evaluate baseline`."
            )
    doubled = frame[frame.duplicated(["method", "model", "task", "seed", "example_id"])]
    if len(doubled):
        first = doubled.iloc[0]
        raise EvidenceError(
            f"{where} has {len(doubled)} rows twice, first example {first['example_id']} of "
            f"{first['method']} on "
            f"{first['model']}; expected one row per method, model, task, seed and example, because a run "
            "counted twice "
            "looks like a replication. Next: `dvc repro evaluate baseline`."
        )


def _check_models(frame: pd.DataFrame, item: Item, grid: Grid, where: str) -> None:
    for name in item.holds:
        found = set(frame.loc[frame["method"] == name, "model"])
        if found != set(grid.methods[name].models):
            raise EvidenceError(
                f"{where} has answers of {name} by {_listed(found)}, expected "
                f"{_listed(grid.methods[name].models)}. "
                "Next: `dvc repro evaluate baseline`."
            )


def _check_examples(frame: pd.DataFrame, golds: Golds, where: str) -> None:
    expected = set(golds.examples)
    for (method, model), rows in frame.groupby(["method", "model"]):
        found = set(rows["example_id"])
        if found != expected:
            missing, extra = sorted(expected - found), sorted(found - expected)
            raise EvidenceError(
                f"{where} has {len(found)} examples for {method} on {model}, expected the {len(expected)} of "
                "the test "
                f"split: {len(missing)} are missing, {len(extra)} are not in it, first "
                f"{(missing + extra)[0]}. "
                "Next: `dvc repro evaluate baseline`."
            )


def _check_answers(frame: pd.DataFrame, labels: tuple[str, ...], where: str) -> None:
    """Predictions are labels, scores are numbers, and the prediction is the label with the highest score."""
    if frame["prediction"].isna().any():
        first = frame.loc[frame["prediction"].isna(), "example_id"].iloc[0]
        raise EvidenceError(f"{where} has no prediction for example {first}, expected a label. {_AGAIN}")
    unknown = sorted(set(frame["prediction"]) - set(labels))
    if unknown:
        raise EvidenceError(f"{where} predicts {unknown[0]!r}, expected one of {list(labels)}. {_AGAIN}")
    wrong = [
        i for i, row in enumerate(frame["scores"]) if row is None or len(row) != len(labels) or np.isnan(row).any()
    ]
    if wrong:
        first = frame["example_id"].iloc[wrong[0]]
        raise EvidenceError(
            f"{where} has {len(wrong)} rows without {len(labels)} scores that are numbers, expected none; "
            f"first example {first}. {_AGAIN}"
        )
    scores = np.stack(frame["scores"].tolist())
    chosen = scores[np.arange(len(frame)), [labels.index(label) for label in frame["prediction"]]]
    edited = np.flatnonzero(chosen < scores.max(axis=1))
    if len(edited):
        first = frame.iloc[int(edited[0])]
        raise EvidenceError(
            f"{where} predicts {first['prediction']!r} for example {first['example_id']}, but another label "
            "has the "
            "highest score; expected the two to agree, so that a prediction cannot be edited by hand. "
            f"{_AGAIN}"
        )


def _check_meta(meta: Mapping[str, Any], item: Item, golds: Golds, where: str) -> None:
    absent = sorted(META - set(meta))
    if absent:
        raise EvidenceError(
            f"{where} comes with a meta.json without {', '.join(absent)}, expected {_listed(META)}. {_AGAIN}"
        )
    found = {
        "method": meta["method"],
        "task": meta["task"],
        "seed": meta["seed"],
        "data_digest": meta["data_digest"],
    }
    wants = {"method": item.method, "task": item.task, "seed": item.seed, "data_digest": golds.data_digest}
    for name, value in wants.items():
        if found[name] != value:
            raise EvidenceError(
                f"{where} comes with a meta.json whose {name} is {found[name]!r}, expected {value!r}: it was "
                "made from "
                f"something else. {_AGAIN}"
            )


def _score(frame: pd.DataFrame, grid: Grid, golds: Mapping[str, Golds]) -> tuple[dict[Key, Scores], dict[Key, Scores]]:
    right: dict[Key, Scores] = {}
    confidence: dict[Key, Scores] = {}
    for (task, model, name), rows in frame.groupby(["task", "model", "method"]):
        key = (str(task), str(model), str(name))
        method, known = grid.methods[key[2]], golds[key[0]]
        hits = rows["prediction"].to_numpy() == known.labels.loc[rows["example_id"]].to_numpy()
        right[key] = _matrix(rows, hits.astype(float), key, method, known)
        certain = confidences(np.stack(rows["scores"].tolist()))
        confidence[key] = _matrix(rows, certain, key, method, known)
    return right, confidence


def _matrix(rows: pd.DataFrame, values: Matrix, key: Key, method: Method, golds: Golds) -> Scores:
    table = rows.assign(value=values, row=rows["seed"].fillna(-1).astype(int))
    wide = table.pivot(index="row", columns="example_id", values="value")[list(golds.examples)]
    wide = wide.loc[list(method.seeds) if method.seeds is not None else [-1]]
    return Scores("/".join(key), wide.to_numpy(dtype=float), golds.examples, method.seeds)


def ids_of(golds: Golds) -> dict[str, str]:
    """Digests of the example ids and of the reference labels, by which other data are recognised."""
    labels = [f"{example}\t{label}" for example, label in golds.labels.items()]
    return {"ids": digest_of(golds.examples), "golds": digest_of(labels)}


def _listed(items: Any) -> str:
    return ", ".join(sorted("none" if item is None else str(item) for item in items)) or "nothing"


_AGAIN = "Next: `dvc repro evaluate baseline`."
