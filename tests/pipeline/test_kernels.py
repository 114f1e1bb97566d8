"""The same bytes whatever a user's environment says of kernels and threads, and a sentence that says so."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.support import workspace
from tests.support.workspace import ITEM, TRAIN, Workspace
from unbroken.environment import has_avx2

CONTRARY = {
    "ATEN_CPU_CAPABILITY": "default",
    "ONEDNN_MAX_CPU_ISA": "SSE41",
    "MKL_CBWR": "AVX2",
    "MKL_NUM_THREADS": "2",
    "OPENBLAS_CORETYPE": "Sandybridge",
    "OPENBLAS_NUM_THREADS": "2",
    "NPY_ENABLE_CPU_FEATURES": "X86_V3",
    "OMP_NUM_THREADS": "2",
    "OMP_DYNAMIC": "TRUE",
}
COMPUTED = ("encode", "baseline", f"train/{ITEM}", f"evaluate/{ITEM}", "aggregate")

pytestmark = pytest.mark.skipif(not has_avx2(), reason="portable kernels need a processor with AVX2")


def test_a_contrary_environment_changes_no_byte_of_any_stage_and_is_reported_once(
    finished: Workspace, tmp_path: Path
) -> None:
    place = workspace.copy(finished, tmp_path / "repo").cold()
    for folder in (*(f"results/{stage}" for stage in COMPUTED), "state", "reports/figures", "reports/tables"):
        shutil.rmtree(place.root / folder)
    stages = [("encode", "--task", "tiny"), ("baseline", "--task", "tiny")]
    stages += [TRAIN, ("evaluate", *TRAIN[1:]), ("aggregate",), ("report",)]
    for stage in stages:
        said = place.stage(*stage, **CONTRARY)
        assert said.count("which would make other bits: not followed here") == 1, stage
        assert all(f"{name}={value}" in said for name, value in CONTRARY.items())
    folders = ("results", "reports/figures", "reports/tables")
    before, after = finished.results(folders), place.results(folders)
    assert [name for name in before if before[name] != after.get(name)] == []


def test_ranks_do_not_repeat_what_their_parent_said(finished: Workspace, tmp_path: Path) -> None:
    place = workspace.copy(finished, tmp_path / "repo", train__steps=2, train__warmup=1).cold()
    said = place.stage(*TRAIN, **CONTRARY, LATENTWIRE_PROCESSES="2")
    assert said.count("not followed here") == 1


def test_native_is_another_run_and_says_so(finished: Workspace, tmp_path: Path) -> None:
    changes = {"runtime__numerics": "native", "train__steps": 2, "train__warmup": 1}
    place = workspace.copy(finished, tmp_path / "repo", **changes).cold()
    before = place.state()
    place.stage(*TRAIN)
    assert len(place.state()) == len(before) + 1
    assert '"portable"' not in (place.root / "results/train/wire-tiny-0/manifest.json").read_text(encoding="utf-8")
