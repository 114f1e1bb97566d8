"""Outs that are other bytes than published: which of them can be compatible, and which never are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save

from latentwire.verification.agreement import Disagreement
from latentwire.verification.judgement import Judgement
from latentwire.verification.local_results import LocalResults
from latentwire.verification.lockfile import LockedStage
from latentwire.verification.other_outs import judge_stage
from latentwire.verification.published import Published
from latentwire.verification.rebuild import Rebuilt
from latentwire.verification.rows import Status

SOURCE = "results/evaluate/wire-tiny-0/predictions.parquet"
META = "results/evaluate/wire-tiny-0/meta.json"
METRICS = "results/train/wire-tiny-0.json"
FEATURES = "results/encode/tiny/features.safetensors"
CELL = {"sources": [SOURCE], "task": "tiny", "method": "wire"}
STATS: dict[str, Any] = {
    "sources": {SOURCE: {}},
    "cells": {"cell": CELL},
    "calibration": {},
    "unseen": {},
    "runs": {"run": {**CELL, "seed": 0}},
}


class Kept(Published):
    """Published results of which these files are here."""

    def content(self, path: str) -> bytes | None:
        return self.stored(path)


def judge(
    root: Path,
    name: str,
    published: dict[str, bytes],
    here: dict[str, bytes],
    judgement: Judgement | None = Judgement({}, []),  # noqa: B008 -- nothing changes it
    rebuilt: Rebuilt = Rebuilt(STATS, None, None, None),  # noqa: B008 -- nothing changes it
) -> tuple[Status, str]:
    for path, data in here.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(data)
    outs = {"train": METRICS, "encode": str(Path(FEATURES).parent)}.get(name.partition("@")[0], str(Path(META).parent))
    local = LocalResults(root, {}, {}, {"features": 0.01}, rebuilt, judgement, {})
    return judge_stage(LockedStage(name, {}, {outs: ""}, {}), Kept("x", {}, published.get, None, None), local)


def meta(**facts: Any) -> dict[str, bytes]:
    return {META: json.dumps({"slots": 4, "checkpoint": "a", **facts}).encode()}


def metrics(**numbers: float) -> dict[str, bytes]:
    return {METRICS: json.dumps(numbers).encode()}


def features(value: float) -> dict[str, bytes]:
    return {FEATURES: save({"states": torch.tensor([value])})}


def test_inputs_must_be_equal(tmp_path: Path) -> None:
    status, why = judge(tmp_path, "prepare", {}, {})
    assert status is Status.CONTRADICTED
    assert "must be equal" in why


def test_answers_made_in_another_way_contradict(tmp_path: Path) -> None:
    """Another checkpoint is what another run has; another number of slots is another experiment."""
    name = "evaluate@wire-tiny-0"
    assert judge(tmp_path, name, meta(), meta(checkpoint="b")) == (Status.COMPATIBLE, "")
    status, why = judge(tmp_path, name, meta(), meta(slots=1))
    assert status is Status.CONTRADICTED
    assert why == f"{META}: slots is 1, published 4, and must be equal"
    assert judge(tmp_path, name, {}, meta(slots=1)) == (Status.COMPATIBLE, "")


def test_answers_are_judged_by_their_numbers(tmp_path: Path) -> None:
    for judged, expected in ((True, Status.CONTRADICTED), (False, Status.NOT_VERIFIABLE)):
        found = Judgement({"cell": [Disagreement("far off", judged)], "other": [Disagreement("x", True)]}, [])
        status, why = judge(tmp_path, "evaluate@wire-tiny-0", meta(), meta(), found)
        assert (status, why) == (expected, "cell: far off")


def test_a_training_is_judged_by_its_numbers_and_answers(tmp_path: Path) -> None:
    name = "train@wire-tiny-0"
    assert judge(tmp_path, name, metrics(loss=1.0), metrics(loss=1.1)) == (Status.COMPATIBLE, "")
    for key in ("cell", "tiny/wire/training/loss"):
        found = Judgement({key: [Disagreement("far off", True)]}, [])
        assert judge(tmp_path, name, metrics(loss=1.0), metrics(loss=1.1), found)[0] is Status.CONTRADICTED
    assert judge(tmp_path, name, metrics(loss=1.0), metrics()) == (Status.CONTRADICTED, "loss is missing")
    assert judge(tmp_path, name, metrics(), metrics(loss=1.0)) == (Status.CONTRADICTED, "loss is not published")
    status, why = judge(tmp_path, name, {}, metrics(loss=1.0))
    assert status is Status.NOT_VERIFIABLE
    assert "Next: `dvc fetch`" in why


@pytest.mark.parametrize(
    ("published", "here", "expected"),
    [(1.0, 1.005, Status.COMPATIBLE), (1.0, 1.5, Status.CONTRADICTED), (None, 1.0, Status.NOT_VERIFIABLE)],
)
def test_features_are_compared_as_numbers(
    tmp_path: Path, published: float | None, here: float, expected: Status
) -> None:
    known = {} if published is None else features(published)
    assert judge(tmp_path, "encode@tiny", known, features(here))[0] is expected


def test_without_statistics_nothing_is_compatible(tmp_path: Path) -> None:
    """Predictions that yield none are a contradiction; published ones that are not here leave it open."""
    broken = Rebuilt(None, "a seed is missing", None, None)
    for name in ("evaluate@wire-tiny-0", "aggregate", "train@wire-tiny-0"):
        status, why = judge(tmp_path, name, metrics(), metrics(), None, broken)
        assert (status, why) == (Status.CONTRADICTED, "a seed is missing")
        assert judge(tmp_path, name, {**metrics(), **meta()}, meta(), None)[0] is Status.NOT_VERIFIABLE
    other = Rebuilt(STATS, None, "value is 1 in stats.json, but the predictions give 2", None)
    assert judge(tmp_path, "aggregate", {}, {}, rebuilt=other)[0] is Status.CONTRADICTED
