"""What stored predictions must be before they count: each refusal names the file and the first row that is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from latentwire.errors import EvidenceError
from latentwire.statistics.golds import Golds
from latentwire.statistics.grid import Grid, Item

AGAIN = "Next: `dvc repro evaluate baseline`."
COLUMNS = ("method", "model", "task", "seed", "example_id", "prediction", "scores")
META = frozenset({"method", "task", "seed", "data_digest", "sees", "bytes_per_example", "checkpoint", "slots"})
"""Facts that must be in the `meta.json` beside predictions."""


def check_keys(frame: pd.DataFrame, item: Item, where: str) -> None:
    seeds = {None if pd.isna(seed) else int(seed) for seed in frame["seed"].unique()}
    found = (set(frame["method"]), set(frame["task"]), seeds)
    expected = (set(item.holds), {item.task}, {item.seed})
    for name, has, wants in zip(("methods", "tasks", "seeds"), found, expected, strict=True):
        if has != wants:
            raise EvidenceError(
                f"{where} holds the {name} {listed(has)}, expected {listed(wants)}. Next: `dvc repro "
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


def check_models(frame: pd.DataFrame, item: Item, grid: Grid, where: str) -> None:
    for name in item.holds:
        found = set(frame.loc[frame["method"] == name, "model"])
        if found != set(grid.methods[name].models):
            raise EvidenceError(
                f"{where} has answers of {name} by {listed(found)}, expected "
                f"{listed(grid.methods[name].models)}. "
                "Next: `dvc repro evaluate baseline`."
            )


def check_examples(frame: pd.DataFrame, golds: Golds, where: str) -> None:
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


def check_answers(frame: pd.DataFrame, labels: tuple[str, ...], where: str) -> None:
    """Predictions are labels, scores are numbers, and the prediction is the label with the highest score."""
    if frame["prediction"].isna().any():
        first = frame.loc[frame["prediction"].isna(), "example_id"].iloc[0]
        raise EvidenceError(f"{where} has no prediction for example {first}, expected a label. {AGAIN}")
    unknown = sorted(set(frame["prediction"]) - set(labels))
    if unknown:
        raise EvidenceError(f"{where} predicts {unknown[0]!r}, expected one of {list(labels)}. {AGAIN}")
    wrong = [
        i for i, row in enumerate(frame["scores"]) if row is None or len(row) != len(labels) or np.isnan(row).any()
    ]
    if wrong:
        first = frame["example_id"].iloc[wrong[0]]
        raise EvidenceError(
            f"{where} has {len(wrong)} rows without {len(labels)} scores that are numbers, expected none; "
            f"first example {first}. {AGAIN}"
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
            f"{AGAIN}"
        )


def check_meta(meta: Mapping[str, Any], item: Item, golds: Golds, where: str) -> None:
    absent = sorted(META - set(meta))
    if absent:
        raise EvidenceError(
            f"{where} comes with a meta.json without {', '.join(absent)}, expected {listed(META)}. {AGAIN}"
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
                f"something else. {AGAIN}"
            )


def listed(items: Any) -> str:
    return ", ".join(sorted("none" if item is None else str(item) for item in items)) or "nothing"
