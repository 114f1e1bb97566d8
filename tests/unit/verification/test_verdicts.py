"""Exit codes, lock files, and what `verify --recompute` may not inherit."""

from __future__ import annotations

from pathlib import Path

import pytest

from latentwire.environment import clone_environment
from latentwire.errors import ConfigurationError
from latentwire.verification import lockfile, rows
from latentwire.verification.features import largest_difference
from latentwire.verification.lockfile import UnverifiableError
from latentwire.verification.outputs import draws_as_locked, output_kind
from latentwire.verification.published import find_published
from latentwire.verification.rows import ResultRow, Status
from tests.support.published_results import git


@pytest.mark.parametrize(
    ("found", "code"),
    [
        ([Status.IDENTICAL, Status.COMPATIBLE], 0),
        ([Status.IDENTICAL, Status.CONTRADICTED, Status.NOT_VERIFIABLE], 3),
        ([Status.IDENTICAL, Status.NOT_VERIFIABLE], 4),
        ([], 4),
    ],
)
def test_a_difference_weighs_more_than_what_cannot_be_verified(found: list[Status], code: int) -> None:
    assert rows.verification_exit_code([ResultRow("stage", "one", status) for status in found]) == code


def test_rows_as_lines_and_as_a_table() -> None:
    row = ResultRow("table", "a.tex", Status.CONTRADICTED, "line [1] is 'b'")
    assert rows.format_rows([row]) == ["contradicted     table   a.tex: line [1] is 'b'"]
    assert rows.rows_table([row]).row_count == 1
    assert rows.summarize_rows([row], "HEAD").endswith("0 identical, 0 compatible, 1 contradicted, 0 not verifiable.")


LOCK = b"""
schema: '2.0'
stages:
  train@wire-r8-0:
    cmd: python
    deps: [{path: src/unbroken, hash: md5, md5: aa.dir}]
    params: {params.yaml: {train.steps: 64, methods.wire: {slots: 8}}}
    outs: [{path: results/train/wire-r8-0, hash: md5, md5: bb.dir}]
"""


def test_a_lock_file_is_read() -> None:
    stage = lockfile.parse_lock(LOCK, "dvc.lock")["train@wire-r8-0"]
    assert stage.deps == {"src/unbroken": "aa.dir"}
    assert stage.outs == {"results/train/wire-r8-0": "bb.dir"}
    assert lockfile.find_parameter({"train": {"steps": 64}}, "train.steps") == stage.params["train.steps"]
    assert lockfile.find_parameter({"train": {}}, "train.steps") is None


@pytest.mark.parametrize("text", [b"", b"stages: 3", b"stages: {a: {outs: [{path: x}]}}", b"\t: {"])
def test_what_is_no_lock_file_cannot_be_verified_against(text: bytes) -> None:
    with pytest.raises(UnverifiableError, match=r"dvc\.lock cannot be read .* Next: ") as refused:
        lockfile.parse_lock(text, "dvc.lock")
    assert refused.value.exit_code == 4


def test_a_name_of_nothing_is_wrong_usage_and_a_repository_without_a_commit_cannot_be_verified(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    (tmp_path / "params.yaml").touch()
    for where in ("nope", None):
        with pytest.raises(UnverifiableError, match="is neither a folder nor a git revision of"):
            find_published(tmp_path, where)
    git(tmp_path, "init", "-q")
    git(tmp_path, "commit", "-q", "--allow-empty", "-m", "x")
    with pytest.raises(ConfigurationError, match=r"'nope' is neither a folder nor a git revision of .* Next: "):
        find_published(tmp_path, "nope")
    with pytest.raises(UnverifiableError, match=r"the revision HEAD .* has no dvc.lock"):
        find_published(tmp_path, None)


def test_a_recomputing_clone_inherits_no_results_runs_or_code() -> None:
    variables = {
        "PATH": "/bin",
        "PYTHONPATH": "/elsewhere",
        "MLFLOW_TRACKING_URI": "http://x",
        "DVC_CACHE": "y",
        "HOME": "/h",
    }
    made = clone_environment(Path("/clone"), variables)
    assert made["PYTHONPATH"] == "/clone/src"
    assert made["PATH"].endswith(":/bin")
    assert "MLFLOW_TRACKING_URI" not in made
    assert "DVC_CACHE" not in made
    assert made["HOME"] == "/h"


def test_features_are_compared_as_numbers() -> None:
    import torch

    before = {"x": torch.tensor([1.0, 2.0]), "n": torch.tensor([3])}
    assert largest_difference(before, {"x": torch.tensor([1.0, 2.25]), "n": torch.tensor([3])}) == 0.25
    assert largest_difference(before, {"x": torch.tensor([1.0]), "n": torch.tensor([3])}) is None


def test_kinds_of_outputs() -> None:
    names = ("reports/tables/a.tex", "reports/figures/a.pdf", "reports/paper.tex")
    assert [output_kind(name) for name in names] == ["table", "figure", "paper"]


def test_another_version_of_matplotlib_draws_other_bytes(tmp_path: Path) -> None:
    assert draws_as_locked(tmp_path)
    (tmp_path / "requirements.lock").write_text("matplotlib==0.0.1 \\\n")
    assert not draws_as_locked(tmp_path)
