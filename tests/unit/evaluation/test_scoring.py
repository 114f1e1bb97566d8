from __future__ import annotations

import inspect
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch

from latentwire.evaluation import controls, predictions, scoring
from latentwire.evaluation.predictions import MethodScores


def test_no_function_takes_a_gold_label() -> None:
    modules = (scoring, controls)
    functions = [f for m in modules for _, f in inspect.getmembers(m, inspect.isfunction) if f.__module__ == m.__name__]
    assert len(functions) > 5
    for function in [*functions, predictions.write_predictions]:
        names = set(inspect.signature(function).parameters)
        assert not names & {"gold", "golds", "label", "references", "answers", "examples"}, function


def test_predictions_are_the_first_largest_score(tmp_path: Path) -> None:
    scores = torch.tensor([[0.1, 0.9], [0.5, 0.5], [0.7, 0.2]])
    meta = {"task": "t", "seed": 3, "method": "m"}
    predictions.write_predictions(tmp_path, [MethodScores("m", "r", scores)], ["x", "y", "z"], ["no", "yes"], meta)
    rows = pq.read_table(tmp_path / "predictions.parquet").to_pylist()
    assert [row["prediction"] for row in rows] == ["yes", "no", "no"]
    assert {(row["method"], row["model"], row["task"], row["seed"]) for row in rows} == {("m", "r", "t", 3)}
    assert rows[0]["scores"] == pytest.approx([0.1, 0.9])
    assert json.loads((tmp_path / "meta.json").read_text()) == meta


def test_a_score_too_many_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="zip"):
        predictions.write_predictions(
            tmp_path,
            [MethodScores("m", "r", torch.zeros(3, 2))],
            ["x", "y"],
            ["no", "yes"],
            {"task": "t", "seed": None},
        )


def test_files_are_a_function_of_their_content(tmp_path: Path) -> None:
    for name in ("one", "two"):
        meta = {"task": "t", "seed": None}
        predictions.write_predictions(
            tmp_path / name, [MethodScores("m", "r", torch.zeros(2, 2))], ["x", "y"], ["no", "yes"], meta
        )
    first, second = ((tmp_path / name / "predictions.parquet").read_bytes() for name in ("one", "two"))
    assert first == second
