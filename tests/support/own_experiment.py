"""A small repository with stages of its own, whose files were written by nothing but the library."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
import yaml

from latentwire.evaluation.predictions import MethodScores, write_predictions
from latentwire.item import TrainItem, own_identity
from latentwire.params.load import load_any_params
from latentwire.params.own import OwnParams
from latentwire.tasks.examples import SPLITS, Example, digest_examples, example_id, write_examples
from unbroken.preemption import StopFlag
from unbroken.run import Run

STEPS, COUNT, LABELS = 3, 12, ("odd", "even")
VALUES: dict[str, Any] = {
    "stages": dict.fromkeys(("prepare", "baseline", "train", "evaluate"), "latentwire.stages.aggregate"),
    "tasks": {"parity": {"labels": list(LABELS), "source": "counted"}},
    "methods": {"deep": {"width": 4}, "flat": {"width": 0}},
    "runtime": {"device": "cpu", "threads": 1, "dtype": "float32", "numerics": "native"},
    "prepare": {"tasks": ["parity"]},
    "train": {
        "methods": ["deep", "flat"],
        "seeds": [0, 1],
        "steps": STEPS,
        "mode": "exact",
        "lr": 0.25,
        "checkpoint": {"every": 2, "keep": 1},
    },
    "baseline": {"methods": ["majority"]},
    "aggregate": {
        "confidence": 0.95,
        "reference": "flat",
        "adjust": "holm",
        "retained": 0.95,
        "margin": 0.02,
        "resamples": 200,
        "seed": 1,
    },
    "report": {"title": "Parity", "names": {"deep": "Deep"}, "method": "Numbers were counted."},
    "verify": {"tolerances": {}},
    "tracking": {"experiment": "parity"},
}


def build(root: Path) -> OwnParams:
    """Write `params.yaml` and everything that the four stages hand on."""
    (root / "params.yaml").write_text(yaml.safe_dump(VALUES, sort_keys=False), encoding="utf-8")
    values = load_any_params(root / "params.yaml")
    assert isinstance(values, OwnParams)
    digest, test = _write_task(root / "results/prepare/parity")
    ids = [example.example_id for example in test]
    facts = {"task": "parity", "data_digest": digest, "training_labels": COUNT, "bytes_per_example": 1.0}
    constant = torch.tensor([[0.0, -1.0]]).expand(len(test), 2)
    meta = {**facts, "method": "majority", "seed": None, "checkpoint": None}
    write_predictions(
        root / "results/baseline/parity/majority", [MethodScores("majority", "none", constant)], ids, LABELS, meta
    )
    for item in TrainItem.all(values):
        weights = _train(root, values, item)
        scores = torch.randn(len(test), 2, generator=torch.Generator().manual_seed(item.seed + 7 * len(item.method)))
        meta = {**facts, "method": item.method, "seed": item.seed, "checkpoint": weights}
        scored = [MethodScores(item.method, "none", scores)]
        write_predictions(root / "results/evaluate" / item.name, scored, ids, LABELS, meta)
    return values


def _write_task(folder: Path) -> tuple[str, list[Example]]:
    folder.mkdir(parents=True)
    numbers = [
        (split, number) for place, split in enumerate(SPLITS) for number in range(COUNT * place, COUNT * (place + 1))
    ]
    examples = [Example(example_id(f"n {n}"), split, f"n {n}", LABELS[(n + 1) % 2]) for split, n in numbers]
    write_examples(examples, folder / "examples.parquet")
    counts = {split: dict.fromkeys(LABELS, COUNT // 2) for split in SPLITS}
    facts = {"digest": digest_examples(examples), "counts": counts, "source_sha256": "0" * 64}
    (folder / "task.json").write_text(json.dumps(facts), encoding="utf-8")
    return facts["digest"], [example for example in examples if example.split == "test"]


def _train(root: Path, values: OwnParams, item: TrainItem) -> str:
    """A run that trains nothing but counts; the digest of its weights."""
    model = torch.nn.Linear(1, 2)
    torch.nn.init.constant_(model.weight, item.seed + len(item.method))
    results = root / "results/train" / item.name
    identity = own_identity(values, item, root)
    folder, state = root / "state" / item.name, {"model": model}
    with Run(folder, identity=identity, state=state, stop=StopFlag(), every=2) as run:
        for step in run.steps(STEPS):
            run.log(**{"train/loss": 1 / (step + item.seed), "validation/accuracy": 0.5})
        run.export(results)
    last = {"train/loss": 1 / (STEPS + item.seed), "validation/accuracy": 0.5}
    results.with_suffix(".json").write_text(json.dumps(last), encoding="utf-8")
    return str(json.loads((results / "manifest.json").read_text(encoding="utf-8"))["state"])
