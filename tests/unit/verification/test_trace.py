"""`latentwire trace` where results are missing: what cannot be computed is no difference."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from latentwire.verification.chain import missing_outs
from latentwire.verification.lockfile import read_lock
from latentwire.verification.published import PROVENANCE, STATS_FILE
from latentwire.verification.trace import trace_number

ROOT = Path(__file__).parents[3]
CELL = "r8/gemma3/wire/accuracy"


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """What git holds of the published results."""
    for name in ("params.yaml", "dvc.lock", STATS_FILE, PROVENANCE):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def test_what_is_missing_is_no_difference(clone: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert trace_number(clone, CELL) == 4
    said = capsys.readouterr().out
    assert "NOT HERE: results/evaluate/wire-r8-0/predictions.parquet" in said
    assert "different" not in said
    assert "BROKEN" not in said
    last = said.splitlines()[-1]
    assert last.startswith("recomputed from the predictions: could not be computed: results/prepare, ")
    assert "missing. Next: `make repro`; or `dvc pull`" in last
    assert said.count("Next: ") == 1


def test_what_is_there_and_contradicts_the_number_weighs_more(clone: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = clone / "results/train/wire-r8-0/manifest.json"
    manifest.parent.mkdir(parents=True)
    manifest.write_text(json.dumps({"state": "0" * 64, "identity": "1" * 64}))
    assert trace_number(clone, CELL) == 3
    said = capsys.readouterr().out
    assert "could not be computed" in said
    assert f"the chain is broken: checkpoint: results/train/wire-r8-0 holds {'0' * 64}" in said


def test_missing_is_what_the_numbers_are_computed_from(clone: Path) -> None:
    """All of it, since they are computed as a whole; no table is."""
    lock = read_lock(clone)
    absent = missing_outs(clone, lock)
    assert {"results/prepare", "results/baseline/r8", "results/evaluate/wire_1-r8-0"} < set(absent)
    assert {Path(path).parts[0] for path in absent} == {"results"}
    assert not any("aggregate" in path or "code" in path for path in absent)
    for path in absent[1:]:
        (clone / path).mkdir(parents=True)
    assert missing_outs(clone, lock) == absent[:1]
