"""Results that disprove themselves, whoever published them: files against what others say of the same fact.

A digest in `dvc.lock` says that a file is the published one, not that it is true. What is checked here needs nothing
published: every fact that is stored twice, or follows from another one, is held against that.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from latentwire.item import TrainItem, precision_method
from latentwire.models.quantise import quantised_bytes
from latentwire.params.load import AnyParams, Params
from latentwire.params.methods import HALF, KINDS
from latentwire.verification.differences import format_leaf
from latentwire.verification.training_metrics import metrics_path
from unbroken.checkpoint.store import Checkpoint, load_checkpoint
from unbroken.errors import CheckpointError, StorageError

Disproof = tuple[str, str]
"""The stage whose outs cannot be true, and why."""
WEIGHTS = (*(f"{kind}/" for kind in KINDS), "model/")
"""Before the names of the trained tensors in a checkpoint: of a method, or of another experiment's model."""


class _Seen:
    """What one seed alone may have, by its kind."""

    def __init__(self) -> None:
        self._items: dict[tuple[str, object], TrainItem] = {}

    def find_twin(self, kind: str, content: object, item: TrainItem) -> str | None:
        """An item of another seed that has the same content; one method under two names may have it twice."""
        other = self._items.setdefault((kind, content), item)
        return None if (other.seed, other.permuted) == (item.seed, item.permuted) else other.name


def find_disproofs(root: Path, values: AnyParams) -> dict[str, str]:
    """The first disproof of every stage that has one; what is missing disproves nothing."""
    found: dict[str, str] = {}
    of_baselines = _disproofs_of_baselines(root, values) if isinstance(values, Params) else ()
    for stage, said in (*_disproofs_of_items(root, values), *of_baselines):
        found.setdefault(stage, said)
    return found


def _disproofs_of_items(root: Path, values: AnyParams) -> Iterator[Disproof]:
    seen = _Seen()
    for item in TrainItem.all(values):
        if (root / item.results).is_dir():
            yield from _disproofs_of_training(root, values, item, seen)
        if isinstance(values, Params):
            yield from ((item.stage("evaluate"), said) for said in _unlike_params(root, values, item))
        yield from ((item.stage("evaluate"), said) for said in _repeated_scores(root, item, seen))


def _disproofs_of_training(root: Path, values: AnyParams, item: TrainItem, seen: _Seen) -> Iterator[Disproof]:
    """A final checkpoint against its manifest, its numbers, its parameters and those of the other items."""
    try:
        checkpoint = load_checkpoint(root / item.results)
    except (CheckpointError, StorageError) as error:
        yield item.stage("train"), str(error)
        return
    steps, reads_prompts = values.train.steps, isinstance(values, Params)
    if checkpoint.step != steps:
        yield item.stage("train"), f"its checkpoint is of step {checkpoint.step}, expected train.steps, {steps}"
    yield from ((item.stage("train"), said) for said in _repeated_run(checkpoint, item, seen))
    yield from ((item.stage("train"), said) for said in _unlike_journal(root, item, checkpoint))
    yield from ((item.stage("evaluate"), said) for said in _unlike_checkpoint(root, item, checkpoint, reads_prompts))


def _repeated_run(checkpoint: Checkpoint, item: TrainItem, seen: _Seen) -> Iterator[str]:
    """Weights or a history that another item has, too: a run that is counted twice looks like a replication."""
    held = checkpoint.manifest.digests.items()
    weights = tuple(sorted(digest for name, digest in held if name.startswith(WEIGHTS)))
    for kind, content in (("weights", weights), ("journal", checkpoint.manifest.journal)):
        other = seen.find_twin(kind, content, item)
        if other:
            yield f"its {kind} are those of {other}, to the last bit; expected those of another training"


def _unlike_journal(root: Path, item: TrainItem, checkpoint: Checkpoint) -> Iterator[str]:
    """Numbers beside the weights that are not those of the journal's last step."""
    path = root / metrics_path(item.name)
    *_, last = checkpoint.journal.records()
    shown: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    for name, value in shown.items():
        held = last.get(name)
        if held != value:
            yield f"{metrics_path(item.name)} has {name} {format_leaf(value)}, the journal {format_leaf(held)}"


def _unlike_checkpoint(root: Path, item: TrainItem, checkpoint: Checkpoint, reads_prompts: bool) -> Iterator[str]:
    """What answers say of the checkpoint that gave them and is not so."""
    meta = _read_meta(root / "results/evaluate" / item.name)
    if meta is None:
        return
    if meta.get("checkpoint") != checkpoint.manifest.state:
        named, state = str(meta.get("checkpoint")), checkpoint.manifest.state
        yield f"meta.json names the checkpoint {named[:12]}, results/train/{item.name} holds {state[:12]}"
    if reads_prompts and meta.get("layout") != checkpoint.state("layout"):
        yield "meta.json has another prompt layout than the checkpoint that gave the answers"


def _unlike_params(root: Path, values: Params, item: TrainItem) -> Iterator[str]:
    """Facts beside the answers that follow from the parameters, and are others."""
    meta, method = _read_meta(root / "results/evaluate" / item.name), values.methods[item.method]
    expected, precisions = {**method.sent, "trained": True}, () if item.permuted else values.precisions_of(item.method)
    if precisions:
        numbers = int(method.sent["bytes_per_example"]) // HALF
        sizes = {precision_method(item.method, name): float(quantised_bytes(numbers, name)) for name in precisions}
        expected["quantised"] = sizes
    for name, value in expected.items():
        if meta is not None and meta.get(name) != value:
            yield f"meta.json has {name} {format_leaf(meta.get(name))}, params.yaml makes it {format_leaf(value)}"


def _repeated_scores(root: Path, item: TrainItem, seen: _Seen) -> Iterator[str]:
    """Scores that another item has, too."""
    path = root / "results/evaluate" / item.name / "predictions.parquet"
    try:
        scores = pd.read_parquet(path, columns=["scores"])["scores"]
    except (OSError, ValueError):
        return  # it is missing or no table, which the statistics say
    other = seen.find_twin("scores", repr([list(row) for row in scores]), item)
    if other:
        yield f"its scores are those of {other}, to the last bit; expected those of another training"


def _disproofs_of_baselines(root: Path, values: Params) -> Iterator[Disproof]:
    for task in values.prepare.tasks:
        metas = {name: _read_meta(root / "results/baseline" / task / name) or {} for name in values.baseline.methods}
        sizes = {str(name): meta["bytes_per_example"] for name, meta in metas.items() if "bytes_per_example" in meta}
        yield from ((f"baseline@{task}", said) for said in _unlike_sizes(sizes, values))


def _unlike_sizes(sizes: Mapping[str, float], values: Params) -> Iterator[str]:
    """Bytes that baselines were given, as far as they follow from each other."""
    if sizes.get("majority", 0.0) != 0.0:
        yield f"majority is given nothing, and its meta.json says {sizes['majority']:g} bytes"
    if "text" not in sizes:
        return
    if sizes.get("calibrated", sizes["text"]) != sizes["text"]:
        yield f"text and calibrated read one text, of {sizes['text']:g} and of {sizes['calibrated']:g} bytes"
    shorter = values.cut_tokens <= values.baseline.max_tokens
    if shorter and sizes.get("truncated", 0.0) > sizes["text"]:
        yield f"truncated has {sizes['truncated']:g} bytes, more than the {sizes['text']:g} of the text"


def _read_meta(folder: Path) -> dict[str, Any] | None:
    """`meta.json` of a folder of answers; None where it is not there or no JSON, which the statistics say."""
    try:
        return dict(json.loads((folder / "meta.json").read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return None
