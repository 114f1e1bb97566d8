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
from latentwire.evaluation.reading import TrainedItem, load_trained
from latentwire.evaluation.scoring import Advance, generate_texts, score_messages, write_messages
from latentwire.evaluation.unseen import flatten_words, unseen_scores
from latentwire.item import TrainItem, precision_method, probe_method
from latentwire.models.baselines import score_by_readout
from latentwire.models.build import configure_torch
from latentwire.models.features import Features, StoredInputs
from latentwire.models.quantise import quantised_bytes, round_wires
from latentwire.models.receiver import Receiver
from latentwire.output_files import write_text_file
from latentwire.params.load import Params
from latentwire.params.sections import Samples
from latentwire.tasks.examples import Split
from latentwire.tasks.stored import StoredTask
from latentwire.training.drawn_labels import count_draws, draw_labelled
from latentwire.training.label_permutation import permute_labels


def evaluate_item(values: Params, item: TrainItem) -> None:
    """Score the test split with an item's final checkpoint."""
    configure_torch(values.runtime)
    features = Features.open(item.features, "test")
    trained = load_trained(values, item, features.width)
    reading = _Reading(values, item, trained, StoredTask.open(item.task))
    sent = reading.write("test", range(len(features)))
    folder, labels = Path("results/evaluate") / item.name, list(values.tasks[item.task].labels)
    scored = [*reading.score(sent), *reading.probe(sent), *reading.score_rounded(sent)]
    write_predictions(folder, scored, features.example_ids, labels, _describe(values, item, trained, sent))
    _write_samples(folder / "samples.json", values.evaluate.samples, trained, sent, features.example_ids)


@dataclass(frozen=True)
class _Reading:
    """What is made of what a trained item sends; one that was trained on permuted labels only answers.

    An ablation has no controls and is asked for no unseen words: those say of the main methods that nothing leaks.
    """

    values: Params
    item: TrainItem
    trained: TrainedItem
    task: StoredTask

    def write(self, split: Split, rows: Sequence[int]) -> Any:
        """The message of some examples of a split by position."""
        texts = [example.text for example in self.task.split(split)]
        inputs = StoredInputs(Features.open(self.item.features, split), self.values.encode.max_tokens, texts)
        return write_messages(self.trained.method, inputs, rows, self.values.evaluate.batch)

    def score(self, sent: Any) -> list[MethodScores]:
        """Scores of every receiver for the message of N examples, for unseen words, and for the controls."""
        controls = controls_of(self.values, self.item)
        noise = draw_noise(self.trained.method.vectors(sent), self.item.seed) if NOISE in controls else sent[:0]
        reference = self._write_reference() if self._unseen else sent[:0]
        steps = (len(sent) + len(noise) + len(reference)) * len(self.trained.receivers)
        with stoppable_progress(steps, f"evaluate {self.item.name}") as advance:
            scored = [s for r in self.trained.receivers for s in self._score_with(r, sent, noise, reference, advance)]
        own = [scores for scores in scored if scores.method == self.item.answers_as] if SHUFFLED in controls else []
        return [*scored, *(MethodScores(f"{s.method}-{SHUFFLED}", s.model, shuffle_rows(s.scores)) for s in own)]

    def _score_with(
        self, receiver: Receiver, sent: Any, noise: Any, reference: Any, advance: Advance
    ) -> Iterator[MethodScores]:
        scores, words = self._read(receiver, sent, advance)
        yield MethodScores(self.item.answers_as, receiver.name, scores)
        if self._unseen:
            _, prior = self._read(receiver, reference, advance)
            yield from unseen_scores(self.item.method, receiver.name, words, prior, len(self._unseen))
        if len(noise):
            yield MethodScores(f"{self.item.method}-{NOISE}", receiver.name, self._read(receiver, noise, advance)[0])

    def probe(self, sent: Any) -> list[MethodScores]:
        """A logistic layer on the vectors themselves, as they are sent, learned from the draws of the receivers."""
        method, labels = self.trained.method, list(self.values.tasks[self.item.task].labels)
        if self.item.permuted or self.values.methods[self.item.method].sent_vectors is None:
            return []
        labelled, counts = draw_labelled(self.values.train, self.item.seed, self.task.split("train"), labels)
        given, c = method.vectors(self.write("train", labelled.positions)).flatten(1), self.values.baseline.probe_c
        scores = score_by_readout(given, labelled.golds, method.vectors(sent).flatten(1), len(labels), c, counts)
        return [MethodScores(probe_method(self.item.method), self.values.encode.sender, scores)]

    def score_rounded(self, sent: Any) -> list[MethodScores]:
        """Scores of every receiver for the vectors that are sent, at each precision of `evaluate.precisions`."""
        precisions, receivers = precisions_of(self.values, self.item), self.trained.receivers
        if not precisions:
            return []
        method, batch = self.trained.method, self.values.evaluate.batch
        vectors = method.vectors(sent)
        rounded = {precision_method(self.item.method, name): round_wires(vectors, name) for name in precisions}
        steps = len(sent) * len(rounded) * len(receivers)
        with stoppable_progress(steps, f"evaluate {self.item.name} at fewer bits") as advance:
            return [
                MethodScores(name, receiver.name, score_messages(method, receiver, read, batch, advance))
                for name, read in rounded.items()
                for receiver in receivers
            ]

    @property
    def _unseen(self) -> Sequence[dict[str, str]]:
        return unseen_words_of(self.values, self.item)

    def _write_reference(self) -> Any:
        """The message of the validation texts from which a prior is taken."""
        count = len(self.task.split("validation"))
        return self.write("validation", range(min(count, self.values.train.validate_.examples)))

    def _read(self, receiver: Receiver, sent: Any, advance: Advance) -> tuple[Tensor, Tensor]:
        """Scores [N, C] of the labels and [N, U · C] of the unseen words after messages, from one forward."""
        labels = list(self.values.tasks[self.item.task].labels)
        tokens = receiver.answer_tokens(flatten_words(self._unseen, labels))
        scores = score_messages(self.trained.method, receiver, sent, self.values.evaluate.batch, advance, tokens)
        return scores[:, : len(labels)], scores[:, len(labels) :]


def precisions_of(values: Params, item: TrainItem) -> Sequence[str]:
    """The precisions below float16 at which what an item sends is read, too."""
    return () if item.permuted or item.ablation else values.precisions_of(item.method)


def controls_of(values: Params, item: TrainItem) -> Sequence[str]:
    """The controls that an item is scored with."""
    asked = () if item.permuted or item.ablation else values.evaluate.controls
    return values.methods[item.method].controls(asked)


def unseen_words_of(values: Params, item: TrainItem) -> Sequence[dict[str, str]]:
    """The sets of other words that an item is asked for."""
    return () if item.permuted or item.ablation else values.tasks[item.task].unseen


def _describe(values: Params, item: TrainItem, trained: TrainedItem, sent: Any) -> dict[str, Any]:
    """What the predictions were made with and from; the bytes are counted on what was read."""
    task, settings = StoredTask.open(item.task), values.methods[item.method]
    sizes = trained.method.count_bytes(sent, trained.receivers)
    vectors, precisions = trained.method.vectors, precisions_of(values, item)
    quantised = {
        precision_method(item.method, name): float(quantised_bytes(vectors(sent)[0].numel(), name))
        for name in precisions
    }
    return {
        "method": item.answers_as,
        "task": item.task,
        "seed": item.seed,
        "trained": True,
        "sees": dict(settings.sees),
        "training_labels": len(count_draws(values.train, item.seed, _read_labels(values, item, task))),
        "slots": settings.sent_vectors,
        "bytes_per_example": sum(sizes) / len(sizes),
        **({"quantised": quantised} if quantised else {}),
        "checkpoint": trained.digest,
        "data_digest": task.digest,
        "layout": {receiver.name: receiver.layout.as_json() for receiver in trained.receivers},
    }


def _read_labels(values: Params, item: TrainItem, task: StoredTask) -> list[int]:
    """The labels that the item was trained on, of the whole training split."""
    names = list(values.tasks[item.task].labels)
    labels = [names.index(example.label) for example in task.split("train")]
    return permute_labels(labels, item.seed) if item.permuted else labels


def _write_samples(path: Path, settings: Samples, trained: TrainedItem, sent: Any, example_ids: Sequence[str]) -> None:
    """What each receiver says freely after the first few messages."""
    first = sent[: settings.examples]
    texts = {r.name: generate_texts(trained.method, r, first, settings.tokens) for r in trained.receivers}
    samples = {
        example_id: {name: rows[row] for name, rows in texts.items()}
        for row, example_id in enumerate(example_ids[: len(first)])
    }
    write_text_file(path, json.dumps(samples, indent=1, sort_keys=True) + "\n")
