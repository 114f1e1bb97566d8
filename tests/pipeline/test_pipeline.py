"""`dvc repro` from nothing to the paper, and what DVC users expect of it."""

from __future__ import annotations

import csv
import json
import subprocess
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.support import workspace
from tests.support.session import shared_folder
from tests.support.workspace import ROOT, Workspace


def test_every_result_is_there(finished: Workspace) -> None:
    for pattern in (
        "dvc.lock",
        "results/evaluate/wire-tiny-1/predictions.parquet",
        "results/baseline/tiny/text/predictions.parquet",
        "results/aggregate/stats.json",
        "reports/tables/*.tex",
        "reports/figures/*.pdf",
        "reports/figures/*.png",
        "reports/paper.tex",
        "reports/provenance.json",
    ):
        assert list(finished.root.glob(pattern)), pattern


def test_nothing_runs_again(finished: Workspace) -> None:
    assert "up to date" in finished.dvc("status")
    again = finished.dvc("repro")
    assert "Running stage" not in again
    changed = subprocess.run(
        ["git", "status", "--short", "--untracked-files=all"],
        cwd=finished.root,
        capture_output=True,
        text=True,
        check=True,
    )
    published = ["dvc.lock", "reports/provenance.json", "results/aggregate/stats.json"]
    assert sorted(changed.stdout.split()) == sorted(["??"] * len(published) + published)


def test_dvc_shows_metrics_and_plots(finished: Workspace, tmp_path: Path) -> None:
    assert "train/loss" in finished.dvc("metrics", "show")
    assert "wire-tiny-0" in finished.dvc("dag")
    shown = tmp_path / "plots"
    finished.dvc("plots", "show", "--out", str(shown))
    assert (shown / "index.html").is_file()


def test_an_experiment_changes_a_parameter(finished: Workspace, tmp_path: Path) -> None:
    place = workspace.copy(finished, tmp_path / "repo")
    git = ["git", "-c", "user.name=test", "-c", "user.email=test@example.org"]
    for command in (["add", "-A"], ["commit", "-q", "-m", "results"]):
        subprocess.run([*git, *command], cwd=place.root, check=True)
    output = place.dvc("exp", "run", "-S", "train.seeds=[0]")
    assert "Running stage 'train" not in output
    assert "Running stage 'aggregate'" in output
    assert "accuracy" in place.dvc("metrics", "diff")


def test_predictions_hold_no_gold(finished: Workspace) -> None:
    names = pq.read_schema(finished.root / "results/evaluate/wire-tiny-0/predictions.parquet").names
    assert names == ["method", "model", "task", "seed", "example_id", "prediction", "scores"]


def test_permuted_golds_leave_predictions_byte_identical(finished: Workspace, tmp_path: Path) -> None:
    place = workspace.copy(finished, tmp_path / "repo")
    path = place.root / "results/prepare/tiny/examples.parquet"
    table = pq.read_table(path)
    rows = table.to_pylist()
    test = [row for row in rows if row["split"] == "test"]
    labels = [row["label"] for row in test]
    for row, label in zip(test, labels[1:] + labels[:1], strict=True):
        row["label"] = label
    pq.write_table(table.from_pylist(rows, schema=table.schema), path)
    assert [row["label"] for row in test] != labels
    before = place.results(["results/evaluate", "results/baseline"])
    for folder in ("results/evaluate/wire-tiny-0", "results/baseline/tiny"):
        for file in (place.root / folder).rglob("*.parquet"):
            file.unlink()
    place.stage("evaluate", "--method", "wire", "--task", "tiny", "--seed", "0")
    place.stage("baseline", "--task", "tiny")
    assert place.results(["results/evaluate", "results/baseline"]) == before


def test_statistics_are_of_stored_predictions(finished: Workspace) -> None:
    """Recompute one accuracy from the files alone."""
    examples = pq.read_table(finished.root / "results/prepare/tiny/examples.parquet").to_pylist()
    golds = {row["example_id"]: row["label"] for row in examples if row["split"] == "test"}
    right = [
        row["prediction"] == golds[row["example_id"]]
        for seed in (0, 1)
        for row in pq.read_table(finished.root / f"results/evaluate/wire-tiny-{seed}/predictions.parquet").to_pylist()
        if (row["method"], row["model"]) == ("wire", "llama")
    ]
    stats = json.loads((finished.root / "results/aggregate/stats.json").read_text())
    assert stats["cells"]["tiny/llama/wire/accuracy"]["value"] == pytest.approx(sum(right) / len(right))


def test_curves_have_every_step(finished: Workspace) -> None:
    with (finished.root / "results/aggregate/curves.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {int(row["step"]) for row in rows} == set(range(1, 13))


def test_results_hold_nothing_of_the_execution(finished: Workspace, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Invariant I12: no path of this machine, no host, no MLflow run in any result."""
    for name, data in finished.results(["results", "reports"]).items():
        assert str(shared_folder(tmp_path_factory)).encode() not in data, name  # it was made there, in another place
        assert str(ROOT).encode() not in data, name
