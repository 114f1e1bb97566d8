"""What stored predictions must be before they count: each error names the file and the first row that is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from latentwire.errors import EvidenceError
from latentwire.statistics.golds import Golds
from latentwire.statistics.grid import Grid, PredictionItem

PREDICTION_COLUMNS = ("method", "model", "task", "seed", "example_id", "prediction", "scores")
META_FIELDS = frozenset({"method", "task", "seed", "data_digest", "training_labels", "bytes_per_example", "checkpoint"})
"""What must be in the `meta.json` beside predictions."""
MODEL_FIELDS = frozenset({"sees", "slots"})
"""What must be there besides where models answer."""
PREDICT_AGAIN = "Next: `dvc repro`."


def check_keys(frame: pd.DataFrame, item: PredictionItem, where: str) -> None:
    """Check that the rows belong to the item's methods, task and seed, and that none is there twice."""
    seeds = {None if pd.isna(seed) else int(seed) for seed in frame["seed"].unique()}
    present = (set(frame["method"]), set(frame["task"]), seeds)
    expected = (set(item.holds), {item.task}, {item.seed})
    for name, has, wants in zip(("methods", "tasks", "seeds"), present, expected, strict=True):
        if has != wants:
            raise EvidenceError(
                f"{where} holds the {name} {join_sorted(has)}, expected {join_sorted(wants)}. {PREDICT_AGAIN}"
            )
    doubled = frame[frame.duplicated(["method", "model", "task", "seed", "example_id"])]
    if len(doubled):
        first = doubled.iloc[0]
        raise EvidenceError(
            f"{where} has {len(doubled)} rows twice, first example {first['example_id']} of {first['method']} on "
            f"{first['model']}; expected one row per method, model, task, seed and example, because a run counted "
            f"twice looks like a replication. {PREDICT_AGAIN}"
        )


def check_models(frame: pd.DataFrame, item: PredictionItem, grid: Grid, where: str) -> None:
    """Check that exactly the models of each method have answered."""
    for name in item.holds:
        models, expected = (
            set(frame.loc[frame["method"] == name, "model"]),
            grid.expected_method(item.task, name).models,
        )
        if models != set(expected):
            raise EvidenceError(
                f"{where} has answers of {name} by {join_sorted(models)}, expected {join_sorted(expected)}. "
                f"{PREDICT_AGAIN}"
            )


def check_examples(frame: pd.DataFrame, golds: Golds, where: str) -> None:
    """Check that every model of every method has answered the whole test split."""
    expected = set(golds.examples)
    for (method, model), rows in frame.groupby(["method", "model"]):
        answered = set(rows["example_id"])
        if answered != expected:
            missing, extra = sorted(expected - answered), sorted(answered - expected)
            raise EvidenceError(
                f"{where} has {len(answered)} examples for {method} on {model}, expected the {len(expected)} of the "
                f"test split: {len(missing)} are missing, {len(extra)} are not in it, first {(missing + extra)[0]}. "
                f"{PREDICT_AGAIN}"
            )


def check_answers(frame: pd.DataFrame, labels: tuple[str, ...], where: str) -> None:
    """Check that predictions are labels, scores are numbers, and each prediction is the label that scores highest."""
    if frame["prediction"].isna().any():
        first = frame.loc[frame["prediction"].isna(), "example_id"].iloc[0]
        raise EvidenceError(f"{where} has no prediction for example {first}, expected a label. {PREDICT_AGAIN}")
    unknown = sorted(set(frame["prediction"]) - set(labels))
    if unknown:
        raise EvidenceError(f"{where} predicts {unknown[0]!r}, expected one of {list(labels)}. {PREDICT_AGAIN}")
    wrong = [
        i for i, row in enumerate(frame["scores"]) if row is None or len(row) != len(labels) or np.isnan(row).any()
    ]
    if wrong:
        first = frame["example_id"].iloc[wrong[0]]
        raise EvidenceError(
            f"{where} has {len(wrong)} rows without {len(labels)} scores that are numbers, expected none; "
            f"first example {first}. {PREDICT_AGAIN}"
        )
    scores = np.stack(frame["scores"].tolist())
    chosen = scores[np.arange(len(frame)), [labels.index(label) for label in frame["prediction"]]]
    edited = np.flatnonzero(chosen < scores.max(axis=1))
    if len(edited):
        first = frame.iloc[int(edited[0])]
        raise EvidenceError(
            f"{where} predicts {first['prediction']!r} for example {first['example_id']}, but another label has the "
            "highest score; expected the two to agree, so that a prediction cannot be edited by hand. "
            f"{PREDICT_AGAIN}"
        )


def check_meta(meta: Mapping[str, Any], item: PredictionItem, grid: Grid, golds: Golds, where: str) -> None:
    """Check that `meta.json` is complete and describes this item and these data."""
    needed = META_FIELDS | MODEL_FIELDS if grid.has_models else META_FIELDS
    absent = sorted(needed - set(meta))
    if absent:
        raise EvidenceError(
            f"{where} comes with a meta.json without {', '.join(absent)}, expected {join_sorted(needed)}. "
            f"{PREDICT_AGAIN}"
        )
    expected = {"method": item.method, "task": item.task, "seed": item.seed, "data_digest": golds.data_digest}
    for name, value in expected.items():
        if meta[name] != value:
            raise EvidenceError(
                f"{where} comes with a meta.json whose {name} is {meta[name]!r}, expected {value!r}: it was made from "
                f"something else. {PREDICT_AGAIN}"
            )
    sized, quantised = set(meta.get("quantised", {})), grid.quantised_names(item)
    if sized != quantised:
        raise EvidenceError(
            f"{where} comes with a meta.json that has the bytes of {join_sorted(sized)} at fewer bits, expected "
            f"{join_sorted(quantised)}. {PREDICT_AGAIN}"
        )


def join_sorted(items: Any) -> str:
    """Join names for a sentence."""
    return ", ".join(sorted("none" if item is None else str(item) for item in items)) or "nothing"
