"""Stage `evaluate`: per-example predictions of every receiver of a trained wire."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latentwire.exits import entry
from latentwire.params import load as params
from latentwire.params import sections

if TYPE_CHECKING:
    from torch import Tensor

    from latentwire.evaluation.predictions import Scored
    from latentwire.evaluation.reading import TrainedWire
    from latentwire.item import TrainItem


def main(argv: Sequence[str] | None = None) -> None:
    """Write `results/evaluate/METHOD-TASK-SEED/`."""
    parser = argparse.ArgumentParser(prog="python -m latentwire.stages.evaluate", description=__doc__)
    parser.add_argument("--method", required=True, help="a key of methods in params.yaml")
    parser.add_argument("--task", required=True, help="a key of tasks in params.yaml")
    parser.add_argument("--seed", required=True, type=int, help="one of train.seeds in params.yaml")
    options = parser.parse_args(argv)

    from latentwire.item import TrainItem

    values = params.load()
    evaluate(values, TrainItem.of(values, options.method, options.task, options.seed))


def evaluate(values: params.Params, item: TrainItem) -> None:
    """Score the test split with an item's final checkpoint."""
    from latentwire.evaluation.predictions import write
    from latentwire.evaluation.reading import load_trained
    from latentwire.evaluation.scoring import write_wires
    from latentwire.models.build import settle_runtime
    from latentwire.models.features import Features
    from latentwire.tasks.stored import StoredTask

    settle_runtime(values.runtime)
    features = Features.open(item.features, "test")
    trained = load_trained(values, item, features.width)
    length, batch = values.encode.max_tokens, values.evaluate.batch
    wires = write_wires(trained.wire, features, range(len(features)), length, batch)
    folder, labels = Path("results/evaluate") / item.name, list(values.tasks[item.task].labels)
    described = meta(item, trained, wires, StoredTask.open(item.task).digest)
    write(folder, score(values, item, trained, wires), features.example_ids, labels, described)
    write_samples(folder / "samples.json", values.evaluate.samples, trained, wires, features.example_ids)


def score(values: params.Params, item: TrainItem, trained: TrainedWire, wires: Tensor) -> list[Scored]:
    """Scores of every receiver, for the wires [N, M, d] and for the controls."""
    from latentwire.console.progress import progress
    from latentwire.evaluation.predictions import Scored
    from latentwire.evaluation.scoring import score_wires, shuffle
    from unbroken.preemption import StopFlag

    stop, batch = StopFlag.install(), values.evaluate.batch
    variants = {item.method: wires}
    if "shuffled" in values.evaluate.controls:
        variants[f"{item.method}-shuffled"] = shuffle(wires)
    scored = []
    with progress(len(variants) * len(trained.receivers) * len(wires), f"evaluate {item.name}") as bar:

        def advance(examples: int) -> None:
            stop.check()
            bar.advance(examples)

        for method, variant in variants.items():
            for receiver in trained.receivers:
                scores = score_wires(trained.wire, receiver, variant, batch, advance)
                scored.append(Scored(method, receiver.name, scores))
    return scored


def meta(item: TrainItem, trained: TrainedWire, wires: Tensor, data_digest: str) -> dict[str, Any]:
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


def write_samples(
    path: Path, asked: sections.Samples, trained: TrainedWire, wires: Tensor, example_ids: Sequence[str]
) -> None:
    """What each receiver says freely after the first few wires."""
    from latentwire.evaluation.scoring import say

    some = wires[: asked.examples]
    said = {r.name: say(trained.wire, r, some, asked.tokens) for r in trained.receivers}
    samples = {
        example_id: {name: texts[row] for name, texts in said.items()}
        for row, example_id in enumerate(example_ids[: len(some)])
    }
    path.write_text(json.dumps(samples, indent=1, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    entry(main)
