"""A run is named by what defines it (invariant I1), and DVC keeps what was computed before."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from tests.support import workspace
from tests.support.workspace import ITEM, TRAIN, Workspace

LIST_INPUTS = (sys.executable, "-m", "latentwire.dvc_files")


def test_a_changed_parameter_retrains_and_says_why(finished: Workspace, tmp_path: Path) -> None:
    place = workspace.copy(finished, tmp_path / "repo")
    item = f"train@{ITEM}"
    before = place.results()
    place.set(train__lr=0.02)
    output = place.dvc("repro", item)
    assert "params.train.lr: 0.01 -> 0.02" in output
    assert "Going on from step" not in output
    assert place.results() != before
    assert len(place.state()) == 2

    place.set(train__lr=0.01)
    output = place.dvc("repro", item)
    assert "is cached - skipping run" in output
    assert place.results() == before


def test_another_checkpoint_interval_or_seed_list_is_the_same_run(fresh: Callable[..., Workspace]) -> None:
    place = fresh()
    place.stage(*TRAIN)
    before = place.results()
    place.set(train__checkpoint__every=7, train__seeds=[0, 1, 2])
    assert "Going on from step 30" in place.stage(*TRAIN)
    assert len(place.state()) == 1
    assert place.results() == before


def test_another_seed_is_another_result(finished: Workspace) -> None:
    weights = [(finished.root / f"results/train/wire-tiny-{seed}/tensors.safetensors").read_bytes() for seed in (0, 1)]
    assert weights[0] != weights[1]


def test_a_changed_local_file_runs_prepare_again(finished: Workspace, tmp_path: Path) -> None:
    """One byte of the data, then of a model: DVC hashes both, so that it sees them without a change of params.yaml."""
    place = workspace.copy(finished, tmp_path / "repo")
    data, model = place.root / "inputs/task/tiny.csv", place.root / "inputs/llama/config.json"
    before, described = data.read_bytes(), model.read_bytes()
    data.write_bytes(before.replace(b".", b"!", 1))
    assert "modified:           inputs/task/tiny.csv" in place.dvc("status", "prepare")
    assert "Running stage 'prepare'" in place.dvc("repro", "prepare")
    assert place.results(["results/prepare"]) != finished.results(["results/prepare"])

    data.write_bytes(before)
    model.write_bytes(described.replace(b"\n", b"\n ", 1))
    assert "modified:           inputs/llama" in place.dvc("status", "prepare")
    model.write_bytes(described)
    assert "Stage 'prepare' is cached - skipping run" in place.dvc("repro", "prepare")
    assert place.results(["results/prepare"]) == finished.results(["results/prepare"])


def test_a_local_file_that_is_gone_or_that_dvc_does_not_know_is_a_sentence(finished: Workspace, tmp_path: Path) -> None:
    place = workspace.copy(finished, tmp_path / "repo")
    data = place.root / "inputs/task/tiny.csv"
    data.rename(data.with_name("other.csv"))
    said = place.dvc("repro", "prepare", code=255)
    assert "ERROR: failed to reproduce 'prepare'" in said  # DVC's own sentence, which names the file
    assert str(data) in said
    said = place.run(*LIST_INPUTS, code=2)
    assert "error: No inputs/task/tiny.csv, which tasks.tiny.source in params.yaml names" in said

    place.set(tasks__tiny__source__train="other.csv")
    said = place.stage("prepare", code=2)
    assert "error: dvc.yaml does not list inputs/task/other.csv in the deps of prepare" in said
    assert "now has inputs/task/other.csv, no longer has inputs/task/tiny.csv" in place.run(*LIST_INPUTS)
    assert "Running stage 'prepare'" in place.dvc("repro", "prepare")
    assert place.results(["results/prepare"]) == finished.results(["results/prepare"])
