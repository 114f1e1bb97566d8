"""What a trained wire is set against, from parameters to the table: permuted labels, probes and unseen words."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from latentwire.params.load import load_params
from latentwire.pipeline.sample import describe_left_out, sample_answers
from latentwire.tasks.stored import StoredTask
from latentwire.verification.rows import Status
from tests.pipeline.conftest import Made
from tests.support import workspace
from tests.support.workspace import SHORT_WIRE, TRAIN, Workspace

UNSEEN = [{"dark": " night", "light": " morning"}, {"dark": " ash", "light": " snow"}]
PERMUTED = "wire-tiny-permuted-0"
ABLATION = "wire_1-tiny-0"
OWN, OTHER = ("--method", "wire", "--task", "tiny", "--seed", "0"), (*TRAIN[1:-1], "permuted-0")


@pytest.fixture(scope="module")
def trained(made: Made, prepared: Workspace) -> Workspace:
    def make(root: Path) -> None:
        others = {"tasks__tiny__unseen": UNSEEN, "evaluate__precisions": ["int8", "int4"]}
        place = workspace.copy(prepared, root, train__seeds=[0, "permuted-0"], **others)
        place.set(methods__wire_1=SHORT_WIRE, train__ablations={"methods": ["wire_1"], "seeds": [0]})
        place.stage("prepare")
        place.stage("encode", "--task", "tiny")
        place.stage("baseline", "--task", "tiny")
        for item in (OWN, OTHER, (OWN[0], "wire_1", *OWN[2:])):
            place.stage("train", *item)
            place.stage("evaluate", *item)
        place.stage("aggregate")
        place.stage("report")

    return made("controls", make)


def _read(trained: Workspace, item: str) -> tuple[pd.DataFrame, Mapping[str, Any]]:
    folder = trained.root / "results" / item
    return pd.read_parquet(folder / "predictions.parquet"), json.loads((folder / "meta.json").read_text())


def test_dvc_names_the_permuted_item_as_the_others(trained: Workspace) -> None:
    names = trained.dvc("stage", "list", "--name-only").split()
    assert {f"train@{PERMUTED}", f"evaluate@{PERMUTED}", "train@wire-tiny-0"} <= set(names)


def test_an_ablation_answers_with_its_receivers_and_the_probe_alone(trained: Workspace) -> None:
    names = trained.dvc("stage", "list", "--name-only").split()
    assert {f"train_ablation@{ABLATION}", f"evaluate_ablation@{ABLATION}"} <= set(names)
    assert f"train@{ABLATION}" not in names
    rows, meta = _read(trained, f"evaluate/{ABLATION}")
    assert set(zip(rows["method"], rows["model"], strict=True)) == {
        ("wire_1", "llama"),
        ("wire_1", "gemma"),
        ("wire_1-probe", "sender"),
    }
    assert (meta["slots"], meta["bytes_per_example"]) == (1, 32.0)
    stats = json.loads((trained.root / "results/aggregate/stats.json").read_text())
    assert "tiny/llama/wire-vs-wire_1/accuracy" in stats["families"]["ablations"]["members"]


def test_permuted_labels_are_all_that_sets_the_two_trainings_apart(trained: Workspace) -> None:
    """The first loss is of the same wire and texts with other labels; what validates is validated on true ones."""
    journals = [
        [json.loads(line) for line in (trained.root / f"results/train/{item}/journal.jsonl").read_text().splitlines()]
        for item in ("wire-tiny-0", PERMUTED)
    ]
    assert journals[0][0]["train/loss"] != journals[1][0]["train/loss"]
    assert [line["train/lr"] for line in journals[0]] == [line["train/lr"] for line in journals[1]]
    assert "validation/accuracy/llama" in journals[1][-1]


def test_the_permuted_item_answers_as_a_control(trained: Workspace) -> None:
    rows, meta = _read(trained, f"evaluate/{PERMUTED}")
    assert set(rows["method"]) == {"wire-permuted"}
    assert (meta["method"], meta["seed"]) == ("wire-permuted", 0)
    stats = json.loads((trained.root / "results/aggregate/stats.json").read_text())
    assert {key for key in stats["controls"] if "permuted-vs" in key} == {
        f"tiny/{model}/wire-permuted-vs-permuted/accuracy" for model in ("llama", "gemma")
    }
    assert stats["methods"]["wire-permuted"]["control_of"] == "wire"
    assert stats["cells"]["tiny/llama/wire-permuted/accuracy"]["sees"] == {
        "text": False, "labels": True, "features": True,
    }  # fmt: skip


def test_a_wire_is_asked_for_other_words_and_read_without_a_receiver(trained: Workspace) -> None:
    rows, meta = _read(trained, "evaluate/wire-tiny-0")
    names = {"wire", "wire-shuffled", "wire-noise", "wire-probe", "wire-unseen-1", "wire-unseen-2"}
    names |= {"wire-int8", "wire-int4"}
    assert set(rows["method"]) == names
    assert set(rows.loc[rows["method"] == "wire-probe", "model"]) == {"sender"}
    scores = {name: np.stack(own["scores"].tolist()) for name, own in rows[rows["model"] == "llama"].groupby("method")}
    assert not np.allclose(scores["wire-unseen-1"], scores["wire-unseen-2"])
    values = load_params(trained.root / "params.yaml")
    assert meta["training_labels"] == min(values.train.steps * values.train.batch, values.prepare.limits.train)


def test_a_wire_is_read_at_fewer_bits(trained: Workspace) -> None:
    rows, meta = _read(trained, "evaluate/wire-tiny-0")
    wire = load_params(trained.root / "params.yaml").methods["wire"]
    numbers = wire.slots * wire.width
    scales = 2 * -(-numbers // 32)
    assert meta["bytes_per_example"] == 2 * numbers
    assert meta["quantised"] == {"wire-int8": numbers + scales, "wire-int4": numbers / 2 + scales}
    for model in ("llama", "gemma"):
        own = {name: np.stack(frame["scores"]) for name, frame in rows[rows["model"] == model].groupby("method")}
        off = {name: np.abs(own[name] - own["wire"]).mean() for name in ("wire-int8", "wire-int4", "wire-noise")}
        assert 0 < off["wire-int8"] < off["wire-int4"] < off["wire-noise"]
    assert "quantised" not in _read(trained, f"evaluate/{PERMUTED}")[1]


def test_baselines_say_how_many_labels_they_learned_from(trained: Workspace) -> None:
    labels = {name: _read(trained, f"baseline/tiny/{name}")[1]["training_labels"] for name in ("text", "calibrated")}
    assert labels == {"text": 0, "calibrated": 0}
    wire = _read(trained, "evaluate/wire-tiny-0")[1]["training_labels"]
    for name in ("probe", "readout"):
        assert _read(trained, f"baseline/tiny/{name}")[1]["training_labels"] == wire
    readout, _ = _read(trained, "baseline/tiny/readout")
    assert set(readout["model"]) == {"llama", "gemma"}


def test_the_report_prints_them(trained: Workspace) -> None:
    text = (trained.root / "reports/report.md").read_text()
    for said in ("night, morning", "ash, snow", "(permuted)", "Probe on Wire", "zero-shot", "(int8)", "(int4)"):
        assert said in text
    assert (trained.root / "reports/tables/unseen.tex").is_file()


def test_a_sample_is_scored_again_also_of_the_permuted_wire(trained: Workspace) -> None:
    rows = {row.name: row for row in sample_answers(trained.root, load_params(trained.root / "params.yaml"), 3)}
    for name in (f"evaluate/{PERMUTED}", "baseline/tiny/few_shot", "baseline/tiny/calibrated"):
        assert rows[name].status in (Status.IDENTICAL, Status.COMPATIBLE), rows


@pytest.mark.parametrize("method", ["wire-unseen-2", "wire-int4"])
def test_a_sample_finds_other_answers_with_unseen_words_and_at_fewer_bits(
    method: str, trained: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It reads each task once, and says what it leaves out."""
    place = workspace.copy(trained, tmp_path / "repo")
    path = place.root / "results/evaluate/wire-tiny-0/predictions.parquet"
    rows, opened, open_task = pd.read_parquet(path), [], StoredTask.open
    asked = rows["method"] == method
    rows.loc[asked, "scores"] = rows.loc[asked, "scores"].map(lambda scores: scores + 1.0)
    rows.to_parquet(path)
    monkeypatch.setattr(StoredTask, "open", lambda name: (opened.append(name), open_task(name))[1])
    values = load_params(place.root / "params.yaml")
    sampled = {row.name: row for row in sample_answers(place.root, values, 2)}
    assert sampled["evaluate/wire-tiny-0"].status is Status.CONTRADICTED
    assert f"nats off at {method}/" in sampled["evaluate/wire-tiny-0"].why
    assert opened == ["tiny"]
    assert "leaves out majority, probe, readout, the probes on the wires" in describe_left_out(values)


def test_few_shot_texts_have_examples_of_each_label_before_them(trained: Workspace) -> None:
    (calibrated, _), (shown, meta) = (_read(trained, f"baseline/tiny/{name}") for name in ("calibrated", "few_shot"))
    examples = pd.read_parquet(trained.root / "results/prepare/tiny/examples.parquet").set_index("example_id")
    solved = examples.loc[meta["shown_examples"]]
    assert meta["training_labels"] == len(solved) == 8
    assert set(solved["split"]) == {"train"}
    assert solved["label"].value_counts().to_dict() == {"dark": 4, "light": 4}
    assert list(shown["example_id"]) == list(calibrated["example_id"])
    assert not np.allclose(np.stack(shown["scores"]), np.stack(calibrated["scores"]))


def test_more_examples_than_a_receiver_has_positions_for_are_refused(trained: Workspace, tmp_path: Path) -> None:
    place = workspace.copy(trained, tmp_path / "repo", baseline__shots=60)
    said = place.stage("baseline", "--task", "tiny", code=2)
    assert "baseline.shots is 60: with those examples a prompt of llama has" in said
    assert "Next: lower baseline.shots" in said
