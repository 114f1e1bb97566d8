"""The final checkpoint of an item → `results/evaluate/METHOD-TASK-SEED/`: predictions of every receiver, samples."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from latentwire.evaluation.item_answers import ItemAnswers, precisions_of
from latentwire.evaluation.predictions import write_predictions
from latentwire.evaluation.reading import TrainedItem, load_trained
from latentwire.evaluation.scoring import generate_texts
from latentwire.item import TrainItem, precision_method
from latentwire.models.build import configure_torch
from latentwire.models.features import Features
from latentwire.models.quantise import quantised_bytes
from latentwire.output_files import write_text_file
from latentwire.params.load import Params
from latentwire.params.sections import Samples
from latentwire.tasks.stored import StoredTask
from latentwire.training.drawn_labels import count_draws, draw_labelled
from latentwire.training.label_permutation import permute_labels


def evaluate_item(values: Params, item: TrainItem) -> None:
    """Score the test split with an item's final checkpoint."""
    configure_torch(values.runtime)
    features = Features.open(item.features, "test")
    trained, task = load_trained(values, item, features.width), StoredTask.open(item.task)
    answers = ItemAnswers(values, item, trained, task)
    sent = answers.write("test", range(len(features)))
    folder, labels = Path("results/evaluate") / item.name, list(values.tasks[item.task].labels)
    labelled = draw_labelled(values.train, item.seed, task.split("train"), labels)
    scored = [*answers.score(sent), *answers.probe(sent, labelled), *answers.score_rounded(sent)]
    write_predictions(folder, scored, features.example_ids, labels, _describe(values, item, trained, sent))
    _write_samples(folder / "samples.json", values.evaluate.samples, trained, sent, features.example_ids)


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
