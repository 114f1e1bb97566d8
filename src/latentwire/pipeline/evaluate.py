"""The final checkpoint of an item → `results/evaluate/METHOD-TASK-SEED/`: predictions of every receiver, samples."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from latentwire.console.progress import stoppable_progress
from latentwire.evaluation.controls import NOISE, SHUFFLED, draw_noise, shuffle_rows
from latentwire.evaluation.predictions import MethodScores, write_predictions
from latentwire.evaluation.reading import TrainedWire, load_trained
from latentwire.evaluation.scoring import generate_texts, score_wires, write_wires
from latentwire.item import TrainItem
from latentwire.models.build import configure_torch
from latentwire.models.features import Features
from latentwire.output_files import write_text_file
from latentwire.params.load import Params
from latentwire.params.sections import Samples
from latentwire.tasks.stored import StoredTask


def evaluate_item(values: Params, item: TrainItem) -> None:
    """Score the test split with an item's final checkpoint."""
    configure_torch(values.runtime)
    features = Features.open(item.features, "test")
    trained = load_trained(values, item, features.width)
    length, batch = values.encode.max_tokens, values.evaluate.batch
    wires = write_wires(trained.wire, features, range(len(features)), length, batch)
    folder, labels = Path("results/evaluate") / item.name, list(values.tasks[item.task].labels)
    description = _describe(item, trained, wires, StoredTask.open(item.task).digest)
    write_predictions(folder, _score(values, item, trained, wires), features.example_ids, labels, description)
    _write_samples(folder / "samples.json", values.evaluate.samples, trained, wires, features.example_ids)


def _score(values: Params, item: TrainItem, trained: TrainedWire, wires: Tensor) -> list[MethodScores]:
    """Scores of every receiver, for the wires [N, M, d] and for the controls."""
    variants, controls = {item.method: wires}, values.evaluate.controls
    if NOISE in controls:
        variants[f"{item.method}-{NOISE}"] = draw_noise(wires, item.seed)
    scored = []
    steps = len(variants) * len(trained.receivers) * len(wires)
    with stoppable_progress(steps, f"evaluate {item.name}") as advance:
        for method, variant in variants.items():
            for receiver in trained.receivers:
                scores = score_wires(trained.wire, receiver, variant, values.evaluate.batch, advance)
                scored.append(MethodScores(method, receiver.name, scores))
    own = [scores for scores in scored if scores.method == item.method] if SHUFFLED in controls else []
    return [*scored, *(MethodScores(f"{item.method}-{SHUFFLED}", s.model, shuffle_rows(s.scores)) for s in own)]


def _describe(item: TrainItem, trained: TrainedWire, wires: Tensor, data_digest: str) -> dict[str, Any]:
    """What the predictions were made with and from; the bytes are counted on the wires that were read."""
    return {
        "method": item.method,
        "task": item.task,
        "seed": item.seed,
        "trained": True,
        "sees": {"text": False, "labels": True, "features": True},
        "slots": wires.shape[1],
        "bytes_per_example": float(wires[0].nbytes),
        "checkpoint": trained.digest,
        "data_digest": data_digest,
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
