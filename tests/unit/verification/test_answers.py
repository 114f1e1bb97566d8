"""Answers of a method without training, in two runs: few others are rounding, many in one direction are not."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from latentwire.tasks.examples import Example, example_id, write_examples
from latentwire.verification.agreement import Disagreement, Trial
from latentwire.verification.answers import AnswerPairs
from latentwire.verification.published import Published

COUNT = 100
SOURCE = "results/baseline/tiny/text/predictions.parquet"
ENTRY = {"sources": [SOURCE], "task": "tiny", "model": "llama", "method": "text"}
TEXTS = [f"text {number}" for number in range(COUNT)]


class Kept(Published):
    """Published results of which these answers are here."""

    def content(self, path: str) -> bytes | None:
        return self.stored(path)


def answers(*wrong: int) -> pd.DataFrame:
    """All right but these, in an order of their own; another model's answers stand beside them."""
    labels = ["dark" if number in wrong else "light" for number in range(COUNT)]
    rows = {
        "method": "text",
        "model": "llama",
        "example_id": [example_id(text) for text in TEXTS],
        "prediction": labels,
    }
    mine = pd.DataFrame(rows).sample(frac=1, random_state=len(wrong))
    return pd.concat([mine, mine.assign(model="gemma", prediction="dark")])


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for folder in ("results/prepare/tiny", Path(SOURCE).parent):
        (tmp_path / folder).mkdir(parents=True)
    listed = [Example(example_id(text), "test", text, "light") for text in TEXTS]
    write_examples(listed, tmp_path / "results/prepare/tiny/examples.parquet")
    return tmp_path


def compared(root: Path, was: pd.DataFrame | None, now: pd.DataFrame, **entry: Any) -> Trial | Disagreement | None:
    buffer = io.BytesIO()
    if was is not None:
        was.to_parquet(buffer)
    now.to_parquet(root / SOURCE)
    published = Kept("here", {}, lambda _: buffer.getvalue() or None, None, None)
    return AnswerPairs(root, published).compare_answers({**ENTRY, **entry})


def test_lost_and_won_answers_are_counted(root: Path) -> None:
    test = compared(root, answers(0, 1), answers(1, 2, 3, 4))
    assert isinstance(test, Trial)
    assert test.said == "it is 0.96, published 0.98: 3 answers lost and 1 won"
    assert test.p == pytest.approx(10 / 16)


def test_losses_in_one_direction_are_no_rounding(root: Path) -> None:
    test = compared(root, answers(), answers(*range(15)))
    assert isinstance(test, Trial)
    assert test.p == pytest.approx(2 / 2**15)


def test_other_answers_everywhere_contradict_though_as_many_are_right(root: Path) -> None:
    test = compared(root, answers(*range(50)), answers(*range(50, 100)))
    assert test == Disagreement("100 of 100 answers are others, and nothing was trained", judged=True)
    assert isinstance(compared(root, answers(*range(10)), answers(*range(10, 20))), Trial)


def test_without_the_published_answers_nothing_is_said(root: Path) -> None:
    assert compared(root, None, answers()) is None
    assert compared(root, answers(), answers()[:50]) is None
    assert compared(root, answers(), answers(), sources=[SOURCE, SOURCE]) is None
