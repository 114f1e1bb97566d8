"""`verify --recompute --stage`: which stages run, and what is said of those whose bytes are others."""

from __future__ import annotations

from pathlib import Path

import pytest

from latentwire import digests
from latentwire.verification.lockfile import LockedStage, UnverifiableError
from latentwire.verification.published import Published
from latentwire.verification.recomputed_stages import needed_stages, recomputed_rows
from latentwire.verification.rows import Status


def _stage(name: str, deps: list[str], outs: dict[str, str]) -> LockedStage:
    return LockedStage(name, dict.fromkeys(deps, ""), outs, {})


@pytest.fixture
def published() -> Published:
    stages = [
        _stage("code", ["src"], {"results/code/train.json": "c"}),
        _stage("aggregate", ["results/train"], {"results/aggregate/stats.json": "s"}),
        _stage("train@a", ["results/code/train.json", "results/prepare/one"], {"results/train/a": "a"}),
        _stage("train@b", ["results/prepare"], {"results/train/b": "b"}),
        _stage("prepare", ["assets.lock"], {"results/prepare": "p"}),
    ]
    return Published("HEAD", {stage.name: stage for stage in stages}, lambda _: None, None, None)


def test_a_stage_needs_what_wrote_its_inputs(published: Published) -> None:
    assert needed_stages(published, ["train@a"]) == ["code", "train@a", "prepare"]
    assert needed_stages(published, ["train@b", "prepare"]) == ["train@b", "prepare"]
    assert needed_stages(published, ["aggregate"]) == ["code", "aggregate", "train@a", "train@b", "prepare"]


def test_a_stage_that_was_not_published_is_named(published: Published) -> None:
    with pytest.raises(UnverifiableError, match=r"no results of the stage 'train', expected one of code, .* Next: "):
        needed_stages(published, ["prepare", "train"])


def test_other_bytes_are_named_and_not_judged_alone(tmp_path: Path) -> None:
    for name in ("same", "other"):
        (tmp_path / name).write_text(name)
    same = digests.dvc_digest(tmp_path / "same")
    assert same
    stages = [_stage("one", [], {"same": same}), _stage("two", ["same"], {"same": same, "other": "0" * 32})]
    known = Published("HEAD", {stage.name: stage for stage in stages}, lambda _: None, None, None)
    one, two = recomputed_rows(tmp_path, known, ["two"])
    assert (one.status, two.status) == (Status.IDENTICAL, Status.NOT_VERIFIABLE)
    assert two.why.startswith("other has another digest than published; ")
    assert recomputed_rows(tmp_path, known, ["one"]) == [one]


def test_a_result_that_was_not_made_is_no_identical_one(tmp_path: Path) -> None:
    known = Published("HEAD", {"one": _stage("one", [], {"gone": "0" * 32})}, lambda _: None, None, None)
    (row,) = recomputed_rows(tmp_path, known, ["one"])
    assert row.status is Status.NOT_VERIFIABLE
    assert row.why.startswith("gone is missing; ")
