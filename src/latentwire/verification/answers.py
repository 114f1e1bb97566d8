"""Answers of both runs to the same examples: what one run alone got right is counted."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from latentwire.statistics.exact import mcnemar_p
from latentwire.tasks.examples import read_examples
from latentwire.verification.agreement import Trial
from latentwire.verification.published import Published


class AnswerPairs:
    """The published answers, where they are here, beside those of a repository."""

    def __init__(self, root: Path, published: Published) -> None:
        self._root, self._published = root, published
        self._golds: dict[str, pd.Series[str]] = {}

    def compare_answers(self, entry: Mapping[str, Any]) -> Trial | None:
        """McNemar's exact test of a cell with one run on each side; None where the published answers are not here."""
        source = entry["sources"][0]
        before, path = self._published.content(source), self._root / source
        if len(entry["sources"]) != 1 or before is None:
            return None
        was, now = (self._right(pd.read_parquet(file), entry) for file in (io.BytesIO(before), path))
        if not was.index.equals(now.index):
            return None
        lost, won = int((was & ~now).sum()), int((now & ~was).sum())
        said = f"it is {now.mean():.6g}, published {was.mean():.6g}: {lost} answers lost and {won} won"
        return Trial(mcnemar_p(lost, won), said)

    def _right(self, answers: pd.DataFrame, entry: Mapping[str, Any]) -> pd.Series[bool]:
        chosen = answers[(answers["model"] == entry["model"]) & (answers["method"] == entry["method"])]
        by_example = chosen.set_index("example_id")["prediction"].sort_index()
        right: pd.Series[bool] = by_example.eq(self._labels(entry["task"]).reindex(by_example.index))
        return right

    def _labels(self, task: str) -> pd.Series[str]:
        if task not in self._golds:
            stored = read_examples(self._root / "results/prepare" / task / "examples.parquet")
            self._golds[task] = pd.Series({example.example_id: example.label for example in stored})
        return self._golds[task]
