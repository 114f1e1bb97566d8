"""The right answers: the test split of a task as `prepare` wrote it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from latentwire.errors import EvidenceError
from latentwire.statistics.scores import digest_items
from latentwire.tasks.examples import digest_examples, read_examples


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


def read_golds(results: Path, task: str, labels: tuple[str, ...]) -> Golds:
    """Gold labels of the test split of `task`, which must hold more than one class.

    Raises:
        EvidenceError: The split is missing, has one class only, an unknown label or an example twice, or is not what
            `prepare` wrote.
    """
    path = results / "prepare" / task / "examples.parquet"
    described = path.with_name("task.json")
    for needed in (path, described):
        if not needed.is_file():
            raise EvidenceError(
                f"{needed} is missing, expected the prepared texts of {task}. Next: `dvc repro prepare`."
            )
    examples = pd.read_parquet(path, columns=["example_id", "split", "label"])
    test = examples[examples["split"] == "test"].set_index("example_id")["label"].sort_index()
    classes = sorted(set(test))
    if len(classes) < 2 or not set(classes) <= set(labels):
        raise EvidenceError(
            f"The test split of {task} in {path} has the classes {classes}, expected at least two of {list(labels)}; "
            "an accuracy over one class says nothing. Next: raise prepare.limits.test, then `dvc repro`."
        )
    if test.index.has_duplicates:
        raise EvidenceError(
            f"Example {test.index[test.index.duplicated()][0]} is twice in the test split of {task} in {path}, "
            "expected once. Next: `dvc repro prepare`."
        )
    stored = str(json.loads(described.read_text(encoding="utf-8"))["digest"])
    _check_unedited(path, stored)
    return Golds(test, stored)


def _check_unedited(path: Path, stored: str) -> None:
    actual = digest_examples(read_examples(path))
    if actual != stored:
        raise EvidenceError(
            f"{path} has the digest {actual[:12]}, expected {stored[:12]} as in the task.json beside it: texts or "
            "labels were changed after `prepare` wrote them. Next: `dvc repro prepare`."
        )


def golds_digests(golds: Golds) -> dict[str, str]:
    """Digests of the example ids and of the reference labels, by which other data are recognised."""
    labels = [f"{example}\t{label}" for example, label in golds.labels.items()]
    return {"ids": digest_items(golds.examples), "golds": digest_items(labels)}
