"""A run is named by what defines it (invariant I1), and DVC keeps what was computed before."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.support import workspace
from tests.support.workspace import ITEM, TRAIN, Workspace


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
