"""Forged results that agree with every digest in `dvc.lock`, and disprove themselves."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
import yaml

from latentwire.item import TrainItem
from latentwire.models.layout import LayoutState
from latentwire.params.load import load_params
from latentwire.verification.disproofs import find_disproofs
from tests.support.synthetic_predictions import build
from unbroken.preemption import StopFlag
from unbroken.run import Run
from unbroken.run_folder.identity import Identity

STEPS = 3
SENT = {"slots": 8, "bytes_per_example": 3072.0, "trained": True}


def train(root: Path, item: TrainItem) -> None:
    """A final checkpoint with weights of its own, its numbers, and answers that name it."""
    torch.manual_seed(sum(map(ord, item.name)))
    state = {"wire": torch.nn.Linear(2, 2), "layout": LayoutState({})}
    folder = root / "state" / item.name
    with Run(
        folder, identity=Identity({"item": item.name}), state=state, stop=StopFlag(), report=lambda _: None
    ) as run:
        for step in run.steps(STEPS):
            run.log(**{"train/loss": 1 / (step + torch.rand(()).item())})
        run.export(root / item.results)
    last = json.loads((root / item.results / "journal.jsonl").read_bytes().splitlines()[-1])
    (root / f"{item.results}.json").write_text(json.dumps({"train/loss": last["train/loss"]}))
    name_checkpoint(root, item)


def name_checkpoint(root: Path, item: TrainItem) -> None:
    manifest = json.loads((root / item.results / "manifest.json").read_bytes())
    edit_meta(root / "results/evaluate" / item.name, checkpoint=manifest["state"], **SENT)


def edit_meta(folder: Path, **facts: Any) -> None:
    path = folder / "meta.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | facts))


@pytest.fixture(scope="module")
def true(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of which every fact holds."""
    root = tmp_path_factory.mktemp("true") / "repository"
    values = build(root, seeds=(0, 1), count=40)
    values["train"]["steps"] = STEPS
    (root / "params.yaml").write_text(yaml.safe_dump(values))
    shutil.rmtree(root / "results/train")
    for item in TrainItem.all(load_params(root / "params.yaml")):
        train(root, item)
    return root


@pytest.fixture
def root(true: Path, tmp_path: Path) -> Path:
    return shutil.copytree(true, tmp_path / "repository")


def disproofs(root: Path) -> dict[str, str]:
    return find_disproofs(root, load_params(root / "params.yaml"))


def test_true_results_have_no_disproof(true: Path) -> None:
    assert disproofs(true) == {}


def test_what_is_missing_disproves_nothing(root: Path) -> None:
    for folder in ("train", "evaluate", "baseline"):
        shutil.rmtree(root / "results" / folder)
    assert disproofs(root) == {}


ITEM, OTHER = TrainItem("wire", "r8", 0), TrainItem("wire", "r8", 1)
TRAINED, TRAINED_TOO = (f"train@{item.name}" for item in (ITEM, OTHER))
ANSWERED, ANSWERED_TOO = (f"evaluate@{item.name}" for item in (ITEM, OTHER))


def flip(path: Path, position: int) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)


def edit_journal(root: Path) -> None:
    path = root / ITEM.results / "journal.jsonl"
    path.write_bytes(path.read_bytes().replace(b"0.", b"1.", 1))


def flip_weight(root: Path) -> None:
    flip(root / ITEM.results / "tensors.safetensors", -1)


def flip_manifest(root: Path) -> None:
    flip(root / ITEM.results / "manifest.json", 40)


def edit_metrics(root: Path) -> None:
    (root / f"{ITEM.results}.json").write_text(json.dumps({"train/loss": 0.0001}))


def add_metric(root: Path) -> None:
    path = root / f"{ITEM.results}.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"validation/accuracy/gemma3": 0.99}))


def copy_run(root: Path) -> None:
    """One training counted as two seeds, with metrics and answers that name it."""
    shutil.rmtree(root / OTHER.results)
    shutil.copytree(root / ITEM.results, root / OTHER.results)
    shutil.copy(root / f"{ITEM.results}.json", root / f"{OTHER.results}.json")
    name_checkpoint(root, OTHER)


def copy_scores(root: Path) -> None:
    """The answers of one seed under the name of another."""
    source, target = (root / "results/evaluate" / item.name / "predictions.parquet" for item in (ITEM, OTHER))
    frame = pd.read_parquet(source)
    frame.assign(seed=pd.array([1] * len(frame), dtype="Int64")).to_parquet(target)


def fewer_steps(root: Path) -> None:
    path = root / "params.yaml"
    path.write_text(path.read_text().replace(f"steps: {STEPS}\n", f"steps: {STEPS + 1}\n"))


def meta_of(item: TrainItem | str, **facts: Any) -> Callable[[Path], None]:
    folder = f"evaluate/{item.name}" if isinstance(item, TrainItem) else f"baseline/{item}"
    return lambda root: edit_meta(root / "results" / folder, **facts)


@pytest.mark.parametrize(
    ("forge", "stage", "named"),
    [
        (edit_journal, TRAINED, "journal"),
        (flip_weight, TRAINED, "tensors.safetensors"),
        (flip_manifest, TRAINED, "manifest.json"),
        (edit_metrics, TRAINED, "has train/loss 0.0001, the journal "),
        (add_metric, TRAINED, "has validation/accuracy/gemma3 0.99, the journal None"),
        (copy_run, TRAINED_TOO, f"its weights are those of {ITEM.name}, to the last bit"),
        (copy_scores, ANSWERED_TOO, f"its scores are those of {ITEM.name}, to the last bit"),
        (fewer_steps, TRAINED, f"is of step {STEPS}, expected train.steps, {STEPS + 1}"),
        (meta_of(ITEM, bytes_per_example=24.0), ANSWERED, "24.0, params.yaml makes it 3072.0"),
        (meta_of(ITEM, slots=1), ANSWERED, "slots 1, params.yaml makes it 8"),
        (meta_of(ITEM, trained=False), ANSWERED, "trained False"),
        (meta_of(ITEM, checkpoint="0" * 64), ANSWERED, "names the checkpoint 000000000000, results/train/"),
        (meta_of(ITEM, layout={"gemma3": {}}), ANSWERED, "another prompt layout"),
        (meta_of("r8/majority", bytes_per_example=1.0), "baseline@r8", "majority is given nothing"),
        (meta_of("r8/text", bytes_per_example=9.0), "baseline@r8", "one text, of 9 and of 131.4"),
        (meta_of("r8/truncated", bytes_per_example=200.0), "baseline@r8", "200 bytes, more than the 131.4"),
    ],
)  # fmt: skip
def test_a_forgery_disproves_itself(root: Path, forge: Callable[[Path], None], stage: str, named: str) -> None:
    forge(root)
    found = disproofs(root)
    assert stage in found
    assert named in found[stage]


def test_the_same_method_under_two_names_is_no_forgery(root: Path) -> None:
    """With one seed and one definition both have the same weights by right."""
    values = yaml.safe_load((root / "params.yaml").read_text())
    values["methods"]["again"] = values["methods"]["wire"]
    values["train"]["methods"] = ["wire", "again"]
    (root / "params.yaml").write_text(yaml.safe_dump(values))
    for kind in ("train", "evaluate"):
        for path in sorted((root / "results" / kind).glob("wire-*")):
            copied = shutil.copytree if path.is_dir() else shutil.copy
            copied(path, path.with_name(path.name.replace("wire-", "again-", 1)))
    assert disproofs(root) == {}
