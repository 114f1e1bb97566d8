"""Examples and features of a task → `results/baseline/TASK/METHOD/`: predictions of everything that has no seed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from latentwire.console.progress import stoppable_progress
from latentwire.evaluation.predictions import MethodScores, write_predictions
from latentwire.evaluation.scoring import label_prior, score_texts
from latentwire.models.baselines import LogisticLayer, score_by_majority
from latentwire.models.build import configure_torch, load_receivers
from latentwire.models.features import Features
from latentwire.models.limits import check_shown_examples
from latentwire.models.receiver import Receiver
from latentwire.params.load import Params
from latentwire.tasks.labelled import Labelled
from latentwire.tasks.stored import StoredTask
from latentwire.training.drawn_labels import draw_labelled

SEES: Mapping[str, Mapping[str, bool]] = {
    "majority": {"text": False, "labels": False, "features": False},
    "probe": {"text": False, "labels": False, "features": True},
    "text": {"text": True, "labels": True, "features": False},
    "calibrated": {"text": True, "labels": True, "features": False},
    "truncated": {"text": True, "labels": True, "features": False},
    "few_shot": {"text": True, "labels": True, "features": False},
    "readout": {"text": True, "labels": True, "features": False},
}
"""What each baseline is given about an example and about the label names."""
CALIBRATED = ("calibrated", "truncated", "few_shot")
"""Text baselines whose scores have the label prior subtracted: without that, a small model mostly says one label."""


@dataclass(frozen=True)
class Predicted:
    """The answers of a baseline and what they were made from."""

    scored: Sequence[MethodScores]
    sizes: Sequence[int]
    """Bytes that the predictor was given about an example, for every one that it was given."""
    training_labels: int = 0
    """Labelled examples that it learned from."""
    shown: Sequence[str] = ()
    """Ids of the solved examples that stand in its prompts."""


def predict_baselines(values: Params, name: str) -> None:
    """Predict the test split of a task with every baseline."""
    configure_torch(values.runtime)
    task = StoredTask.open(name)
    text = _TextBaselines(values, task)
    predictors: dict[str, Callable[[], Predicted]] = {
        "majority": lambda: _predict_majority(values, task),
        "probe": lambda: _predict_probe(values, task),
        "readout": text.predict_readout,
        "few_shot": text.predict_few_shot,
        **{method: partial(text.predict, method, tokens) for method, tokens in text_budgets(values).items()},
    }
    ids, labels = [example.example_id for example in task.split("test")], list(values.tasks[name].labels)
    for method in values.baseline.methods:
        predicted = predictors[method]()
        folder, described = Path("results/baseline") / name / method, _describe(method, task, predicted)
        write_predictions(folder, predicted.scored, ids, labels, described)


def labelled_examples(values: Params, task: StoredTask) -> Labelled:
    """The labelled examples of the baselines that learn: the draws of the first seed."""
    labels = list(values.tasks[task.name].labels)
    return draw_labelled(values.train, values.train.own_seeds[0], task.split("train"), labels)


def show_examples(
    values: Params, task: StoredTask, receivers: Sequence[Receiver]
) -> tuple[Labelled, Sequence[Receiver]]:
    """The solved examples of `few_shot`, and the receivers as they read a text after those.

    Raises:
        ConfigurationError: A receiver has fewer positions than examples and text may take.
    """
    labelled = labelled_examples(values, task)
    shown, length = labelled.choose_in_turn(values.baseline.shots), values.baseline.max_tokens
    shots = [receiver.show_examples(shown.texts, shown.golds, length) for receiver in receivers]
    for receiver in shots:
        check_shown_examples(receiver, len(shown), length)
    return shown, shots


def text_budgets(values: Params) -> dict[str, int]:
    """Baseline that reads the text → how many tokens of it."""
    whole, cut = values.baseline.max_tokens, values.cut_tokens
    return {"text": whole, "calibrated": whole, "truncated": cut}


def calibrate_scores(method: str, receiver: Receiver, scores: Tensor) -> Tensor:
    """The scores [N, C] of a baseline that reads the text, from those that its receiver gave."""
    return scores - label_prior(receiver) if method in CALIBRATED else scores


class _TextBaselines:
    """Receivers that read the text itself, loaded once for all text baselines."""

    def __init__(self, values: Params, task: StoredTask) -> None:
        self._values, self._task = values, task
        self._texts = [example.text for example in task.split("test")]
        self._receivers: list[Receiver] = []
        self._scores: dict[int, Mapping[str, Tensor]] = {}

    def predict(self, method: str, max_tokens: int) -> Predicted:
        """Scores of every receiver for the first `max_tokens` tokens."""
        scores = self._score_test(max_tokens)
        scored = [MethodScores(method, r.name, calibrate_scores(method, r, scores[r.name])) for r in self._receivers]
        return Predicted(scored, self._count_bytes(max_tokens))

    def predict_readout(self) -> Predicted:
        """A logistic layer on each receiver's label scores for the text, learned from labelled examples."""
        labelled, length = labelled_examples(self._values, self._task), self._values.baseline.max_tokens
        test, train = self._score_test(length), self._score(labelled.texts, length, "labelled texts")
        layer = _logistic_layer(self._values, self._task.name, labelled)
        scored = [
            MethodScores("readout", name, layer.score_by_readout(rows, test[name])) for name, rows in train.items()
        ]
        return Predicted(scored, self._count_bytes(length), len(labelled))

    def predict_few_shot(self) -> Predicted:
        """Scores of every receiver that is shown the same solved examples before each text."""
        length = self._values.baseline.max_tokens
        shown, shots = show_examples(self._values, self._task, self._load_receivers())
        scores = self._score(self._texts, length, f"texts after {len(shown)} examples", shots)
        scored = [MethodScores("few_shot", r.name, calibrate_scores("few_shot", r, scores[r.name])) for r in shots]
        train = self._task.split("train")
        ids = [train[position].example_id for position in shown.positions]
        return Predicted(scored, self._count_bytes(length), len(shown), ids)

    def _count_bytes(self, max_tokens: int) -> list[int]:
        """UTF-8 bytes of what every receiver reads of every text."""
        return [r.count_text_bytes(text, max_tokens) for r in self._receivers for text in self._texts]

    def _score_test(self, max_tokens: int) -> Mapping[str, Tensor]:
        """Receiver name → label scores [N, C] of the test texts; computed once for each number of tokens."""
        if max_tokens not in self._scores:
            self._scores[max_tokens] = self._score(self._texts, max_tokens, "texts")
        return self._scores[max_tokens]

    def _load_receivers(self) -> list[Receiver]:
        self._receivers = self._receivers or load_receivers(self._values, self._values.receivers, self._task.name)
        return self._receivers

    def _score(
        self, texts: Sequence[str], max_tokens: int, what: str, readers: Sequence[Receiver] = ()
    ) -> Mapping[str, Tensor]:
        name, batch, readers = self._task.name, self._values.evaluate.batch, readers or self._load_receivers()
        with stoppable_progress(len(texts) * len(readers), f"{name}, {what} of {max_tokens} tokens") as advance:
            return {r.name: score_texts(r, texts, max_tokens, batch, advance) for r in readers}


def _predict_majority(values: Params, task: StoredTask) -> Predicted:
    labels = list(values.tasks[task.name].labels)
    train = [labels.index(example.label) for example in task.split("train")]
    scores = score_by_majority(train, len(labels), len(task.split("test")))
    return Predicted([MethodScores("majority", "none", scores)], [0], len(train))


def _predict_probe(values: Params, task: StoredTask) -> Predicted:
    labelled = labelled_examples(values, task)
    train, test = (Features.open(Path("results/encode") / task.name, split).means() for split in ("train", "test"))
    scores = _logistic_layer(values, task.name, labelled).score_by_probe(train[labelled.positions], test)
    return Predicted([MethodScores("probe", values.encode.sender, scores)], [test[0].nbytes], len(labelled))


def _logistic_layer(values: Params, task: str, labelled: Labelled) -> LogisticLayer:
    """The layer that learns from these examples of a task."""
    return LogisticLayer.of(labelled, len(values.tasks[task].labels), values.baseline.probe_c)


def _describe(method: str, task: StoredTask, predicted: Predicted) -> dict[str, Any]:
    return {
        "method": method,
        "task": task.name,
        "seed": None,
        "trained": False,
        "sees": SEES[method],
        "training_labels": predicted.training_labels,
        "slots": None,
        "bytes_per_example": sum(predicted.sizes) / len(predicted.sizes),
        "most_bytes": max(predicted.sizes),
        "shown_examples": list(predicted.shown),
        "checkpoint": None,
        "data_digest": task.digest,
    }
