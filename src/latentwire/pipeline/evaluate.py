"""The final checkpoint of an item → `results/evaluate/METHOD-TASK-SEED/`: predictions of every receiver, samples."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from latentwire.console.progress import stoppable_progress
from latentwire.evaluation.controls import NOISE, SHUFFLED, draw_noise, shuffle_rows
from latentwire.evaluation.predictions import MethodScores, write_predictions
from latentwire.evaluation.reading import TrainedWire, load_trained
from latentwire.evaluation.scoring import Advance, generate_texts, score_wires, write_wires
from latentwire.evaluation.unseen import flatten_words, unseen_scores
from latentwire.item import TrainItem, probe_method
from latentwire.models.baselines import score_by_readout
from latentwire.models.build import configure_torch
from latentwire.models.features import Features
from latentwire.models.receiver import Receiver
from latentwire.output_files import write_text_file
from latentwire.params.load import Params
from latentwire.params.sections import Samples
from latentwire.tasks.labelled import Labelled, labelled_positions
from latentwire.tasks.stored import StoredTask


def evaluate_item(values: Params, item: TrainItem) -> None:
    """Score the test split with an item's final checkpoint."""
    configure_torch(values.runtime)
    features = Features.open(item.features, "test")
    reading = _Reading(values, item, load_trained(values, item, features.width))
    wires = reading.write(features, range(len(features)))
    folder, labels = Path("results/evaluate") / item.name, list(values.tasks[item.task].labels)
    scored = [*reading.score(wires), *reading.probe(wires)]
    write_predictions(folder, scored, features.example_ids, labels, _describe(values, item, reading.trained, wires))
    _write_samples(folder / "samples.json", values.evaluate.samples, reading.trained, wires, features.example_ids)


@dataclass(frozen=True)
class _Reading:
    """What is made of the wires of a trained item; one that was trained on permuted labels only answers."""

    values: Params
    item: TrainItem
    trained: TrainedWire

    def write(self, features: Features, rows: Sequence[int]) -> Tensor:
        """Wires [N, M, d] of some examples of a split by position."""
        return write_wires(self.trained.wire, features, rows, self.values.encode.max_tokens, self.values.evaluate.batch)

    def score(self, wires: Tensor) -> list[MethodScores]:
        """Scores of every receiver for the wires [N, M, d], for unseen words, and for the controls."""
        controls = () if self.item.permuted else self.values.evaluate.controls
        noise = draw_noise(wires, self.item.seed) if NOISE in controls else wires[:0]
        reference = self._write_reference() if self._unseen else wires[:0]
        steps = (len(wires) + len(noise) + len(reference)) * len(self.trained.receivers)
        with stoppable_progress(steps, f"evaluate {self.item.name}") as advance:
            scored = [s for r in self.trained.receivers for s in self._score_with(r, wires, noise, reference, advance)]
        own = [scores for scores in scored if scores.method == self.item.answers_as] if SHUFFLED in controls else []
        return [*scored, *(MethodScores(f"{s.method}-{SHUFFLED}", s.model, shuffle_rows(s.scores)) for s in own)]

    def _score_with(
        self, receiver: Receiver, wires: Tensor, noise: Tensor, reference: Tensor, advance: Advance
    ) -> Iterator[MethodScores]:
        scores, words = self._read(receiver, wires, advance)
        yield MethodScores(self.item.answers_as, receiver.name, scores)
        if self._unseen:
            _, prior = self._read(receiver, reference, advance)
            yield from unseen_scores(self.item.method, receiver.name, words, prior, len(self._unseen))
        if len(noise):
            yield MethodScores(f"{self.item.method}-{NOISE}", receiver.name, self._read(receiver, noise, advance)[0])

    def probe(self, wires: Tensor) -> list[MethodScores]:
        """A logistic layer on the wires themselves, as they are sent, learned from those that the receivers had."""
        if self.item.permuted:
            return []
        labels = list(self.values.tasks[self.item.task].labels)
        task = StoredTask.open(self.item.task)
        labelled = Labelled.draw(self.values.train, self.item.seed, task.split("train"), labels)
        given = self.write(Features.open(self.item.features, "train"), labelled.positions).flatten(1)
        c = self.values.baseline.probe_c
        scores = score_by_readout(given, labelled.golds, wires.flatten(1), len(labels), c)
        return [MethodScores(probe_method(self.item.method), self.values.encode.sender, scores)]

    @property
    def _unseen(self) -> Sequence[dict[str, str]]:
        return () if self.item.permuted else self.values.tasks[self.item.task].unseen

    def _write_reference(self) -> Tensor:
        """Wires of the validation texts from which a prior is taken."""
        features = Features.open(self.item.features, "validation")
        return self.write(features, range(min(len(features), self.values.train.validate_.examples)))

    def _read(self, receiver: Receiver, wires: Tensor, advance: Advance) -> tuple[Tensor, Tensor]:
        """Scores [N, C] of the labels and [N, U · C] of the unseen words after wires, from one forward."""
        labels = list(self.values.tasks[self.item.task].labels)
        tokens = receiver.answer_tokens(flatten_words(self._unseen, labels))
        scores = score_wires(self.trained.wire, receiver, wires, self.values.evaluate.batch, advance, tokens)
        return scores[:, : len(labels)], scores[:, len(labels) :]


def _describe(values: Params, item: TrainItem, trained: TrainedWire, wires: Tensor) -> dict[str, Any]:
    """What the predictions were made with and from; the bytes are counted on the wires that were read."""
    task = StoredTask.open(item.task)
    return {
        "method": item.answers_as,
        "task": item.task,
        "seed": item.seed,
        "trained": True,
        "sees": {"text": False, "labels": True, "features": True},
        "training_labels": len(labelled_positions(values.train, item.seed, len(task.split("train")))),
        "slots": wires.shape[1],
        "bytes_per_example": float(wires[0].nbytes),
        "checkpoint": trained.digest,
        "data_digest": task.digest,
        "layout": {receiver.name: receiver.layout.as_json() for receiver in trained.receivers},
    }


def _write_samples(
    path: Path, settings: Samples, trained: TrainedWire, wires: Tensor, example_ids: Sequence[str]
) -> None:
    """What each receiver says freely after the first few wires."""
    first = wires[: settings.examples]
    texts = {r.name: generate_texts(trained.wire, r, first, settings.tokens) for r in trained.receivers}
    samples = {
        example_id: {name: rows[row] for name, rows in texts.items()}
        for row, example_id in enumerate(example_ids[: len(first)])
    }
    write_text_file(path, json.dumps(samples, indent=1, sort_keys=True) + "\n")
