"""What was done, as far as parameters and stored facts say it: texts, words, prompts, wires, trainings, numerics."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

import pandas as pd

from latentwire.errors import EvidenceError
from latentwire.item import TrainItem
from latentwire.params.load import AnyParams, Params
from latentwire.params.own import OwnParams
from latentwire.statistics.comparisons import StatsRecord
from latentwire.statistics.runs import read_manifest
from latentwire.tasks.examples import Example, read_examples

WIRE = "wire"
"""The kind whose parts are told apart: encoder and adapters."""
MODEL = "model/"
"""Before the names of the trained tensors of an experiment with stages of its own; of a method, it is its kind."""
RESAMPLER, ADAPTERS = "resampler.", "adapters."
TOKEN_COUNTS = "token_counts.parquet"
"""Of every task: how many tokens each model makes of each text, a file of `prepare`."""
SENDER_PROJECTION, RECEIVER_PROJECTION = "project.0.weight", "skip.weight"
"""Tensors from which the hidden widths of sender [d, D_s] and receiver [D_r, d] are read."""


def setup_record(results: Path, values: AnyParams) -> StatsRecord:
    """Everything that the report says of how the numbers were made, with no number of the results in it.

    Raises:
        EvidenceError: A file of `prepare`, `baseline` or `train` is missing.
    """
    return _setup_of_texts(results, values) if isinstance(values, Params) else _own_setup(results, values)


def _own_setup(results: Path, values: OwnParams) -> StatsRecord:
    """The parameters, as they stand there, with the sizes of what was trained and of the splits."""
    return {
        "methods": {name: _own_method(results, values, name) for name in values.train.all_methods},
        "training": _training(values),
        "runtime": values.runtime.model_dump(mode="json"),
        "tasks": {task: _own_task(results, values, task) for task in values.prepare.tasks},
    }


def _own_method(results: Path, values: OwnParams, name: str) -> StatsRecord:
    item = TrainItem(name, values.prepare.tasks[0], values.train.seeds_of(name)[0])
    tensors = read_manifest(results / "train" / item.name)["tensors"]
    sizes = [prod(about["shape"]) for key, about in tensors.items() if key.startswith(MODEL)]
    return {"settings": values.methods[name].model_dump(mode="json"), "parameters": sum(sizes)}


def _own_task(results: Path, values: OwnParams, task: str) -> StatsRecord:
    about = values.tasks[task]
    return {
        "settings": about.model_dump(mode="json", exclude={"labels"}),
        "labels": {label: label for label in about.labels},
        "splits": _count_splits(results / "prepare" / task),
    }


def _count_splits(folder: Path) -> dict[str, int]:
    return {split: sum(counts.values()) for split, counts in _read(folder / "task.json")["counts"].items()}


def _setup_of_texts(results: Path, values: Params) -> StatsRecord:
    methods = {name: _method(results, values, name) for name in values.train.all_methods}
    return {
        "sender": {"name": values.encode.sender, "layer": values.encode.layer, "max_tokens": values.encode.max_tokens},
        "methods": methods,
        "training": _training(values),
        "baselines": {
            "max_tokens": values.baseline.max_tokens,
            "truncated_to": values.cut_tokens,
            "probe_c": values.baseline.probe_c,
            "shots": values.baseline.shots if "few_shot" in values.baseline.methods else None,
        },
        "runtime": values.runtime.model_dump(mode="json"),
        "tasks": {task: _task(results, values, task) for task in values.prepare.tasks},
    }


def _training(values: AnyParams) -> StatsRecord:
    kept = values.train.model_dump(mode="json", by_alias=True)
    return {name: kept[name] for name in kept if name not in ("methods", "seeds", "ablations", "checkpoint")}


def _method(results: Path, values: Params, name: str) -> StatsRecord:
    """The shape of a method, and the numbers of trained parameters and hidden widths that its weights have."""
    item = TrainItem(name, values.prepare.tasks[0], values.train.seeds_of(name)[0])
    tensors, settings = read_manifest(results / "train" / item.name)["tensors"], values.methods[name]
    start = f"{settings.kind}/"
    shapes = {key.removeprefix(start): about["shape"] for key, about in tensors.items() if key.startswith(start)}
    described, receivers = settings.model_dump(mode="json"), settings.receivers
    if settings.kind != WIRE:
        return {**described, "trained": {model: _count_for(shapes, model) for model in receivers}}
    return {
        **described,
        "resampler": _part(shapes, RESAMPLER, SENDER_PROJECTION, axis=1),
        "adapters": {model: _part(shapes, f"{ADAPTERS}{model}.", RECEIVER_PROJECTION, axis=0) for model in receivers},
    }


def _count_for(shapes: Mapping[str, list[int]], model: str) -> int:
    """Trained parameters of one receiver, whose name is the second part of those of its tensors."""
    return sum(prod(shape) for key, shape in shapes.items() if key.split(".")[1:2] == [model])


def _part(shapes: Mapping[str, list[int]], start: str, projection: str, axis: int) -> StatsRecord:
    """How many parameters a part has, and the hidden width of the frozen model beside it."""
    return {
        "parameters": sum(prod(shape) for key, shape in shapes.items() if key.startswith(start)),
        "model_width": shapes[start + projection][axis],
    }


def _task(results: Path, values: Params, task: str) -> StatsRecord:
    about, folder = values.tasks[task], results / "prepare" / task
    tested = [example for example in read_examples(folder / "examples.parquet") if example.split == "test"]
    size = sum(len(example.text.encode()) for example in tested) / len(tested)
    return {
        "primer": about.primer,
        "anchor": about.anchor,
        "labels": dict(about.labels),
        "splits": _count_splits(folder),
        **_what_is_read(results, values, task, size),
        "cut": _count_cut(folder / TOKEN_COUNTS, values, tested),
        "prompts": _read(folder / "prompts.json"),
    }


def _what_is_read(results: Path, values: Params, task: str, size: float) -> StatsRecord:
    """What receivers read of test texts of a mean `size` in bytes; None if none reads them.

    `share_read` are the bytes that they read of all, `most_bytes` the most of one text.
    """
    if "text" not in values.baseline.methods:
        return {"share_read": None, "most_bytes": None}
    about = _read(results / "baseline" / task / "text/meta.json")
    return {"share_read": float(about["bytes_per_example"]) / size, "most_bytes": int(about["most_bytes"])}


def _count_cut(path: Path, values: Params, tested: Sequence[Example]) -> StatsRecord:
    """`sender` and `receivers`: model → how many of the test texts have more tokens than it is given."""
    if not path.is_file():
        raise _missing(path)
    counts = pd.read_parquet(path).set_index("example_id").loc[[example.example_id for example in tested]]
    sent = counts[f"sender/{values.encode.sender}"] > values.encode.max_tokens
    read = {name: counts[f"receiver/{name}"] > values.baseline.max_tokens for name in values.receivers}
    return {
        "sender": {values.encode.sender: int(sent.sum())},
        "receivers": {name: int(longer.sum()) for name, longer in read.items()},
    }


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise _missing(path)
    return dict(json.loads(path.read_text(encoding="utf-8")))


def _missing(path: Path) -> EvidenceError:
    return EvidenceError(f"{path} is missing, expected what its stage wrote. Next: `dvc repro prepare baseline`.")
