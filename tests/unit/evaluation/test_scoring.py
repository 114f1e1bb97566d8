from __future__ import annotations

import inspect
import json
from collections.abc import Sequence
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch

from latentwire.evaluation import controls, item_answers, predictions, scoring, unseen
from latentwire.evaluation.predictions import MethodScores
from latentwire.models.receiver import Receiver
from tests.support.tiny_receivers import make_receiver


def test_no_function_takes_a_gold_label() -> None:
    modules = (scoring, controls, unseen, item_answers, item_answers.ItemAnswers)
    members = [f for m in modules for _, f in inspect.getmembers(m, inspect.isfunction)]
    functions = [f for f in members if f.__module__.startswith("latentwire.evaluation")]
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


def test_texts_of_one_length_share_a_batch_and_scores_keep_their_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = ["one night in the meadow.", "snow", "the morning was over, and then the storm", "dark ash"]
    receiver = make_receiver(tmp_path)
    alone = torch.cat([scoring.score_texts(receiver, [text], 64, 1, lambda _: None) for text in texts])
    honest, seen = Receiver.label_log_likelihoods, []

    def recorded(self: Receiver, middle: Sequence[torch.Tensor]) -> torch.Tensor:
        seen.append([len(rows) for rows in middle])
        return honest(self, middle)

    monkeypatch.setattr(Receiver, "label_log_likelihoods", recorded)
    told: list[int] = []
    scores = scoring.score_texts(receiver, texts, 64, 3, told.append)
    torch.testing.assert_close(scores, alone, rtol=0, atol=1e-5)
    assert seen == [sorted(len(receiver.tokenise_text(text)) for text in texts)[:3], [9]]
    assert told == [3, 1]


def test_files_are_a_function_of_their_content(tmp_path: Path) -> None:
    for name in ("one", "two"):
        meta = {"task": "t", "seed": None}
        predictions.write_predictions(
            tmp_path / name, [MethodScores("m", "r", torch.zeros(2, 2))], ["x", "y"], ["no", "yes"], meta
        )
    first, second = ((tmp_path / name / "predictions.parquet").read_bytes() for name in ("one", "two"))
    assert first == second
