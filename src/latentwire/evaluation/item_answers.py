"""What is answered to what a trained item sends: by every receiver, by a probe, under controls, and at fewer bits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from latentwire.console.progress import stoppable_progress
from latentwire.evaluation.controls import NOISE, SHUFFLED, draw_noise, shuffle_rows
from latentwire.evaluation.predictions import MethodScores
from latentwire.evaluation.reading import TrainedItem
from latentwire.evaluation.scoring import Advance, score_messages, write_messages
from latentwire.evaluation.unseen import flatten_words, unseen_scores
from latentwire.item import TrainItem, precision_method, probe_method
from latentwire.models.baselines import LogisticLayer
from latentwire.models.features import Features, StoredInputs
from latentwire.models.quantise import round_wires
from latentwire.models.receiver import Receiver
from latentwire.params.load import Params
from latentwire.tasks.examples import Split
from latentwire.tasks.labelled import Labelled
from latentwire.tasks.stored import StoredTask


@dataclass(frozen=True)
class ItemAnswers:
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

    def probe(self, sent: Any, labelled: Labelled) -> list[MethodScores]:
        """A logistic layer on the vectors themselves, as they are sent, that learns from `labelled`."""
        method, values = self.trained.method, self.values
        if self.item.permuted or values.methods[self.item.method].sent_vectors is None:
            return []
        layer = LogisticLayer.of(labelled, len(values.tasks[self.item.task].labels), values.baseline.probe_c)
        given = method.vectors(self.write("train", labelled.positions)).flatten(1)
        scores = layer.score_by_readout(given, method.vectors(sent).flatten(1))
        return [MethodScores(probe_method(self.item.method), values.encode.sender, scores)]

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
