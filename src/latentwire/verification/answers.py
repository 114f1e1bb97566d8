"""Answers of both runs to the same examples: what one run alone got right is counted."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from latentwire.statistics.exact import mcnemar_p
from latentwire.tasks.examples import read_examples
from latentwire.verification.agreement import Disagreement, Trial
from latentwire.verification.published import Published

ROUNDED = 0.2
"""Share of answers that rounding may change where nothing was trained: those for which two labels are nearly tied."""


class AnswerPairs:
    """The published answers, where they are here, beside those of a repository."""

    def __init__(self, root: Path, published: Published) -> None:
        self._root, self._published = root, published
        self._golds: dict[str, pd.Series[str]] = {}

    def compare_answers(self, entry: Mapping[str, Any]) -> Trial | Disagreement | None:
        """What a cell's answers say where nothing was trained; None where the published answers are not here.

        Returns:
            McNemar's exact test of the answers lost and won, or a contradiction where more than `ROUNDED` are others.
        """
        (source, *others), path = entry["sources"], self._root / entry["sources"][0]
        before = None if others else self._published.content(source)
        if before is None:
            return None
        was, now = (self._select(pd.read_parquet(file), entry) for file in (io.BytesIO(before), path))
        return self._compare(was, now, entry["task"]) if was.index.equals(now.index) else None

    def _compare(self, was: pd.Series[str], now: pd.Series[str], task: str) -> Trial | Disagreement:
        changed = int((was != now).sum())
        if changed > ROUNDED * len(now):
            return Disagreement(f"{changed} of {len(now)} answers are others, and nothing was trained", judged=True)
        golds = self._labels(task).reindex(now.index)
        right, right_now = was.eq(golds), now.eq(golds)
        lost, won = int((right & ~right_now).sum()), int((right_now & ~right).sum())
        said = f"it is {right_now.mean():.6g}, published {right.mean():.6g}: {lost} answers lost and {won} won"
        return Trial(mcnemar_p(lost, won), said)

    @staticmethod
    def _select(answers: pd.DataFrame, entry: Mapping[str, Any]) -> pd.Series[str]:
        chosen = answers[(answers["model"] == entry["model"]) & (answers["method"] == entry["method"])]
        by_example: pd.Series[str] = chosen.set_index("example_id")["prediction"].sort_index()
        return by_example

    def _labels(self, task: str) -> pd.Series[str]:
        if task not in self._golds:
            stored = read_examples(self._root / "results/prepare" / task / "examples.parquet")
            self._golds[task] = pd.Series({example.example_id: example.label for example in stored})
        return self._golds[task]
