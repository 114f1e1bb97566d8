"""What was done, as far as parameters and stored facts say it: texts, words, prompts, wires, trainings, numerics."""

from __future__ import annotations

import json
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

from latentwire.errors import EvidenceError
from latentwire.item import TrainItem
from latentwire.params.load import Params
from latentwire.statistics.comparisons import StatsRecord
from latentwire.statistics.runs import read_manifest
from latentwire.tasks.examples import read_examples

WIRE = "wire/"
"""Before the names of the trained tensors in a manifest, where the states of the optimizer stand beside them."""
RESAMPLER, ADAPTERS = "resampler.", "adapters."
SENDER_PROJECTION, RECEIVER_PROJECTION = "project.0.weight", "skip.weight"
"""Tensors from which the hidden widths of sender [d, D_s] and receiver [D_r, d] are read."""


def setup_record(results: Path, values: Params) -> StatsRecord:
    """Everything that the report says of how the numbers were made, with no number of the results in it.

    Raises:
        EvidenceError: A file of `prepare`, `baseline` or `train` is missing.
    """
    methods = {name: _method(results, values, name) for name in values.train.methods}
    return {
        "sender": {"name": values.encode.sender, "layer": values.encode.layer, "max_tokens": values.encode.max_tokens},
        "methods": methods,
        "training": _training(values),
        "baselines": {
            "max_tokens": values.baseline.max_tokens,
            "truncated_to": values.methods[values.baseline.budget_of].slots,
            "probe_c": values.baseline.probe_c,
        },
        "runtime": values.runtime.model_dump(mode="json"),
        "tasks": {task: _task(results, values, task) for task in values.prepare.tasks},
    }


def _training(values: Params) -> StatsRecord:
    kept = values.train.model_dump(mode="json", by_alias=True)
    return {name: kept[name] for name in kept if name not in ("methods", "seeds", "checkpoint")}


def _method(results: Path, values: Params, name: str) -> StatsRecord:
    """The shape of a method, and the numbers of trained parameters and hidden widths that its weights have."""
    item = TrainItem(name, values.prepare.tasks[0], values.train.own_seeds[0])
    manifest = read_manifest(results / "train" / item.name)
    shapes = {key.removeprefix(WIRE): about["shape"] for key, about in manifest["tensors"].items() if key[:5] == WIRE}
    receivers = values.methods[name].receivers
    return {
        **values.methods[name].model_dump(mode="json"),
        "resampler": _part(shapes, RESAMPLER, SENDER_PROJECTION, axis=1),
        "adapters": {model: _part(shapes, f"{ADAPTERS}{model}.", RECEIVER_PROJECTION, axis=0) for model in receivers},
    }


def _part(shapes: Mapping[str, list[int]], start: str, projection: str, axis: int) -> StatsRecord:
    """How many parameters a part has, and the hidden width of the frozen model beside it."""
    return {
        "parameters": sum(prod(shape) for key, shape in shapes.items() if key.startswith(start)),
        "model_width": shapes[start + projection][axis],
    }


def _task(results: Path, values: Params, task: str) -> StatsRecord:
    about, folder = values.tasks[task], results / "prepare" / task
    tested = [example.text for example in read_examples(folder / "examples.parquet") if example.split == "test"]
    return {
        "primer": about.primer,
        "anchor": about.anchor,
        "labels": dict(about.labels),
        "splits": {split: sum(counts.values()) for split, counts in _read(folder / "task.json")["counts"].items()},
        "share_read": _share_read(results, values, task, sum(len(text.encode()) for text in tested) / len(tested)),
        "prompts": _read(folder / "prompts.json"),
    }


def _share_read(results: Path, values: Params, task: str, size: float) -> float | None:
    """Bytes that receivers read of a text over its `size`, both means over the test texts; None if none reads it."""
    if "text" not in values.baseline.methods:
        return None
    return float(_read(results / "baseline" / task / "text/meta.json")["bytes_per_example"]) / size


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise EvidenceError(f"{path} is missing, expected what its stage wrote. Next: `dvc repro prepare baseline`.")
    return dict(json.loads(path.read_text(encoding="utf-8")))
