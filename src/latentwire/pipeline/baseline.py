"""Examples and features of a task → `results/baseline/TASK/METHOD/`: predictions of everything that has no seed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from latentwire.console.progress import stoppable_progress
from latentwire.evaluation.predictions import MethodScores, write_predictions
from latentwire.evaluation.scoring import label_prior, score_texts
from latentwire.models.baselines import score_by_majority, score_by_probe
from latentwire.models.build import configure_torch, load_receivers
from latentwire.models.features import Features
from latentwire.models.receiver import Receiver
from latentwire.params.load import Params
from latentwire.tasks.stored import StoredTask

SEES: Mapping[str, Mapping[str, bool]] = {
    "majority": {"text": False, "labels": False, "features": False},
    "probe": {"text": False, "labels": False, "features": True},
    "text": {"text": True, "labels": True, "features": False},
    "calibrated": {"text": True, "labels": True, "features": False},
    "truncated": {"text": True, "labels": True, "features": False},
}
"""What each baseline is given about an example and about the label names."""
CALIBRATED = ("calibrated", "truncated")
"""Text baselines whose scores have the label prior subtracted: without that, a small model mostly says one label."""

Predicted = tuple[Sequence[MethodScores], float]
"""Scores, and the bytes that the predictor was given about an example."""


def predict_baselines(values: Params, name: str) -> None:
    """Predict the test split of a task with every baseline."""
    configure_torch(values.runtime)
    task = StoredTask.open(name)
    text = _TextBaselines(values, task)
    predictors: dict[str, Callable[[], Predicted]] = {
        "majority": lambda: _predict_majority(values, task),
        "probe": lambda: _predict_probe(values, task),
        **{method: partial(text.predict, method, tokens) for method, tokens in text_budgets(values).items()},
    }
    ids, labels = [example.example_id for example in task.split("test")], list(values.tasks[name].labels)
    for method in values.baseline.methods:
        scored, size = predictors[method]()
        write_predictions(Path("results/baseline") / name / method, scored, ids, labels, _describe(method, task, size))


def text_budgets(values: Params) -> dict[str, int]:
    """Baseline that reads the text → how many tokens of it."""
    whole, cut = values.baseline.max_tokens, values.methods[values.baseline.budget_of].slots
    return {"text": whole, "calibrated": whole, "truncated": cut}


def calibrate_scores(method: str, receiver: Receiver, scores: Tensor) -> Tensor:
    """The scores [N, C] of a baseline that reads the text, from those that its receiver gave."""
    return scores - label_prior(receiver) if method in CALIBRATED else scores


class _TextBaselines:
    """Receivers that read the text itself, loaded once for both text baselines."""

    def __init__(self, values: Params, task: StoredTask) -> None:
        self._values, self._task = values, task.name
        self._texts = [example.text for example in task.split("test")]
        self._receivers: list[Receiver] = []
        self._scores: dict[int, Mapping[str, Tensor]] = {}

    def predict(self, method: str, max_tokens: int) -> Predicted:
        """Scores of every receiver for the first `max_tokens` tokens, and the mean UTF-8 bytes of those."""
        scores = self._score(max_tokens)
        scored = [MethodScores(method, r.name, calibrate_scores(method, r, scores[r.name])) for r in self._receivers]
        given = [r.decode(r.tokenise_text(text, max_tokens)) for r in self._receivers for text in self._texts]
        # The space after the primer says nothing of the example.
        return scored, sum(len(text.lstrip().encode()) for text in given) / len(given)

    def _score(self, max_tokens: int) -> Mapping[str, Tensor]:
        """Receiver name → label scores [N, C]; computed once for each number of tokens."""
        if max_tokens in self._scores:
            return self._scores[max_tokens]
        values, texts = self._values, self._texts
        self._receivers = self._receivers or load_receivers(values, values.receivers, self._task)
        steps = len(texts) * len(self._receivers)
        with stoppable_progress(steps, f"{self._task}, texts of {max_tokens} tokens") as advance:
            self._scores[max_tokens] = {
                receiver.name: score_texts(receiver, texts, max_tokens, values.evaluate.batch, advance)
                for receiver in self._receivers
            }
        return self._scores[max_tokens]


def _predict_majority(values: Params, task: StoredTask) -> Predicted:
    labels = list(values.tasks[task.name].labels)
    train = [labels.index(example.label) for example in task.split("train")]
    return [MethodScores("majority", "none", score_by_majority(train, len(labels), len(task.split("test"))))], 0.0


def _predict_probe(values: Params, task: StoredTask) -> Predicted:
    labels = list(values.tasks[task.name].labels)
    golds = [labels.index(example.label) for example in task.split("train")]
    train, test = (Features.open(Path("results/encode") / task.name, split).means() for split in ("train", "test"))
    scores = score_by_probe(train, golds, test, values.baseline.probe_c)
    return [MethodScores("probe", values.encode.sender, scores)], float(test[0].nbytes)


def _describe(method: str, task: StoredTask, bytes_per_example: float) -> dict[str, Any]:
    return {
        "method": method,
        "task": task.name,
        "seed": None,
        "trained": False,
        "sees": SEES[method],
        "slots": None,
        "bytes_per_example": bytes_per_example,
        "checkpoint": None,
        "data_digest": task.digest,
    }
