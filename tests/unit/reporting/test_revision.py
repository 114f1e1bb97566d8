"""Which revision of the code a report names, in a real git repository."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import asdict
from pathlib import Path

import pytest

from latentwire.exits import exit_code_of
from latentwire.pipeline.report import find_code_revision, list_artifacts
from latentwire.stages import report


def _git(root: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=T", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", *identity, *arguments], cwd=root, capture_output=True, text=True, check=True)
    return done.stdout.strip()


SCIENCE, CARRIER = "src/latentwire/training/loop.py", "src/unbroken/checkpoint/writer.py"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    for folder in ("src/latentwire/training", "src/unbroken/checkpoint"):
        (tmp_path / folder).mkdir(parents=True)
    for name in (SCIENCE, CARRIER, "params.yaml", "dvc.yaml", "README.md"):
        (tmp_path / name).write_text(name)
    _git(tmp_path, "init", "--quiet")
    _git(tmp_path, "add", ".")
    _git(tmp_path, "commit", "--quiet", "-m", "code")
    return tmp_path


def test_a_commit_of_results_is_no_other_code(repository: Path) -> None:
    first = find_code_revision(repository)
    assert first is not None
    assert (first.commit, first.dirty) == (_git(repository, "rev-parse", "HEAD"), False)
    (repository / "dvc.lock").write_text("results")
    (repository / "README.md").write_text("words")
    (repository / CARRIER).write_text("what only carries results")
    assert find_code_revision(repository) == first
    _git(repository, "add", ".")
    _git(repository, "commit", "--quiet", "-m", "results")
    assert find_code_revision(repository) == first


def test_a_commit_of_comments_is_no_other_code_once_a_report_is_published(repository: Path) -> None:
    first = find_code_revision(repository)
    assert first is not None
    (repository / "reports").mkdir()
    (repository / "reports/provenance.json").write_text(json.dumps({"revision": asdict(first)}))
    (repository / SCIENCE).write_text(f"# A remark.\n{SCIENCE}  # and another\n")
    _git(repository, "add", ".")
    _git(repository, "commit", "--quiet", "-m", "results and words")
    assert find_code_revision(repository) == first
    (repository / SCIENCE).write_text(f"{SCIENCE} + 1\n")
    _git(repository, "commit", "--quiet", "-am", "code")
    code = find_code_revision(repository)
    assert code is not None
    assert code.commit == _git(repository, "rev-parse", "HEAD")
    assert code.tree != first.tree


@pytest.mark.parametrize("name", [SCIENCE, "src/latentwire/training/new.py", "params.yaml"])
def test_changed_and_new_files_of_the_code_make_it_dirty(repository: Path, name: str) -> None:
    (repository / name).write_text("changed")
    code = find_code_revision(repository)
    assert code is not None
    assert code.dirty


def test_without_git_or_a_commit_it_is_not_known(
    repository: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty = tmp_path_factory.mktemp("empty")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(empty.parent))
    assert find_code_revision(empty) is None
    _git(empty, "init", "--quiet")
    assert find_code_revision(empty) is None
    monkeypatch.setenv("PATH", str(empty))
    assert find_code_revision(repository) is None


@pytest.mark.usefixtures("drawn_before")
def test_the_stage_says_why_its_report_is_a_draft(
    aggregated: Path, repository: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(aggregated / "results/aggregate", repository / "results/aggregate")
    shutil.copy(aggregated / "params.yaml", repository)
    monkeypatch.chdir(repository)
    monkeypatch.setattr("latentwire.pipeline.report.compile_paper", lambda _: None)
    assert exit_code_of(report.main, []) == 0
    assert "note: the report is marked DRAFT, because files of the science, or params.yaml" in capsys.readouterr().out
    _git(repository, "commit", "--quiet", "-am", "params")
    assert exit_code_of(report.main, []) == 0
    assert "DRAFT" not in capsys.readouterr().out
    attached = list_artifacts(Path("reports"))
    assert {path.name for path in attached[""]} == {"paper.tex", "report.html", "report.md", "provenance.json"}
