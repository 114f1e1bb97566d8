"""Git is asked about the folder that it runs in, whatever hooks and settings say; and listened to."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

from latentwire import git
from latentwire.environment import clone_environment, forget_other_repositories
from latentwire.pipeline.report import find_code_revision
from latentwire.reporting.provenance import Revision
from latentwire.verification.lockfile import UnverifiableError
from latentwire.verification.published import find_published

IDENTITY = ("-c", "user.name=T", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false")
ROOT = Path(__file__).parents[2]


def run_git(root: Path, *arguments: str) -> str:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    command = ["git", *IDENTITY, *arguments]
    return subprocess.run(command, cwd=root, env=clean, capture_output=True, text=True, check=True).stdout.strip()


def make_repository(root: Path, text: str) -> Path:
    (root / "src").mkdir(parents=True)
    for name in ("params.yaml", "dvc.lock", "src/ä b.py"):
        (root / name).write_text(text)
    run_git(root, "init", "-q", "-b", "main")
    run_git(root, "add", ".")
    run_git(root, "commit", "-q", "-m", text)
    return root


@pytest.fixture
def ours(tmp_path: Path) -> Path:
    return make_repository(tmp_path / "ours", "ours")


@pytest.fixture(params=["work tree", "index", "namespace and objects", "parameters"])
def other(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository that the environment points at, as in a hook of a linked worktree."""
    root = make_repository(tmp_path / "other", "other")
    variables = {
        "work tree": {"GIT_DIR": f"{root}/.git", "GIT_WORK_TREE": str(root)},
        "index": {"GIT_INDEX_FILE": f"{root}/.git/index", "GIT_DIR": f"{root}/.git"},
        "namespace and objects": {"GIT_NAMESPACE": "n", "GIT_OBJECT_DIRECTORY": f"{root}/.git/objects"},
        "parameters": {"GIT_CONFIG_PARAMETERS": f"'core.worktree'='{root}'", "GIT_LITERAL_PATHSPECS": "1"},
    }
    for name, value in variables[request.param].items():
        monkeypatch.setenv(name, value)
    return root


def test_what_the_environment_points_at_is_not_asked(ours: Path, other: Path, tmp_path: Path) -> None:
    head, theirs = run_git(ours, "rev-parse", "HEAD"), run_git(other, "rev-parse", "HEAD")
    assert git.resolve_commit(ours) == git.newest_commit(ours, ["params.yaml"]) == head
    assert git.read_committed(ours, "HEAD", "dvc.lock") == b"ours"
    assert git.changed_files(ours) == []
    (ours / "src/ä b.py").write_text("changed")
    assert git.changed_files(ours) == ["src/ä b.py"]
    assert git.has_changes(ours, ["src"]) is True
    assert git.has_changes(ours, ["dvc.lock"]) is False
    assert b"ours" in (git.archive_commit(ours, head, "code") or b"")
    assert git.store_file_in_ref(ours, Path("params.yaml"), "refs/x/y")
    git.clone_commit(ours, head, tmp_path / "clone")
    assert (tmp_path / "clone/params.yaml").read_text() == "ours"
    assert run_git(ours, "for-each-ref", "refs/x")
    assert not run_git(other, "for-each-ref", "refs/x")
    assert (run_git(other, "rev-parse", "HEAD"), run_git(other, "branch", "--show-current")) == (theirs, "main")
    assert run_git(other, "status", "--porcelain") == ""


@pytest.mark.usefixtures("other")
def test_what_we_start_is_not_led_there_either(ours: Path) -> None:
    ask = "import subprocess; print(subprocess.check_output(['git', 'rev-parse', '--show-toplevel'], text=True))"
    variables = clone_environment(ours)
    done = subprocess.run([sys.executable, "-c", ask], cwd=ours, env=variables, capture_output=True, text=True)
    assert done.stdout.strip() == str(ours.resolve())
    forget_other_repositories()
    assert subprocess.check_output([sys.executable, "-c", ask], cwd=ours, text=True).strip() == str(ours.resolve())


def test_settings_that_a_container_is_given_stay(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    given = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": "*"}
    for name, value in {**given, "GIT_DIR": "/nowhere"}.items():
        monkeypatch.setenv(name, value)
    kept = {name: value for name, value in clone_environment(tmp_path).items() if name.startswith("GIT_")}
    assert kept == given


@pytest.mark.parametrize(
    "setting", ["color.ui=always", "core.quotePath=true", "log.showSignature=true", "diff.external=cat"]
)
def test_what_a_user_sets_for_his_eyes_changes_nothing(setting: str, ours: Path) -> None:
    run_git(ours, "config", *setting.split("=", 1))
    (ours / "src/ä b.py").write_text("changed")
    assert git.changed_files(ours) == ["src/ä b.py"]
    assert git.newest_commit(ours, ["src"]) == run_git(ours, "rev-parse", "HEAD")


def test_a_makefile_started_by_a_hook_takes_its_own_repository(ours: Path, other: Path) -> None:
    rules = "include " + str(ROOT / "Makefile") + "\nask-git:\n\t@git rev-parse --show-toplevel\n"
    (ours / "Rules").write_text(rules)
    said = subprocess.check_output(["make", "-s", "-f", "Rules", "ask-git"], cwd=ours, text=True)
    assert said.strip() == str(ours.resolve()) != str(other.resolve())


def test_the_scripts_of_a_job_take_their_own_repository(ours: Path, other: Path) -> None:
    command = f". {ROOT}/slurm/helpers.sh; git rev-parse --show-toplevel; git rev-parse HEAD"
    said = subprocess.check_output(["bash", "-c", command], cwd=ours, text=True).split()
    assert said == [str(ours.resolve()), run_git(ours, "rev-parse", "HEAD")]
    assert said[1] != run_git(other, "rev-parse", "HEAD")


def fake_git(folder: Path, body: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.mkdir()
    (folder / "git").write_text(f"#!/bin/sh\n{body}\n")
    (folder / "git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


DUBIOUS = "fatal: detected dubious ownership in repository at '/data/clone'"


def test_why_there_is_no_revision_is_what_git_says(ours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert git.explain_unknown(ours) is None
    (tmp_path / "zip").mkdir()
    assert "not a git repository" in str(git.explain_unknown(tmp_path / "zip"))
    run_git(tmp_path / "zip", "init", "-q")
    assert git.explain_unknown(tmp_path / "zip") == "the repository has no commit yet"
    for root in (tmp_path / "zip", ours):
        (root / "params.yaml").touch()
    with pytest.raises(UnverifiableError, match="has no commit yet"):
        find_published(tmp_path / "zip", None)
    fake_git(tmp_path / "bin", f'echo "{DUBIOUS}" >&2; exit 128', monkeypatch)
    assert git.explain_unknown(ours) == f"git says: {DUBIOUS.removeprefix('fatal: ')}"
    with pytest.raises(UnverifiableError, match="dubious ownership"):
        find_published(ours, None)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git.explain_unknown(ours) == "git is not installed"
    with pytest.raises(git.GitError, match="git is not installed"):
        git.clone_commit(ours, "HEAD", tmp_path / "clone")


@pytest.mark.parametrize("damage", ["object", "branch"])
def test_a_commit_that_is_gone_is_not_called_none_yet(damage: str, ours: Path) -> None:
    """As after a power cut, which leaves a branch without its commit, or an empty file for its name."""
    commit = run_git(ours, "rev-parse", "HEAD")
    if damage == "object":
        (ours / ".git/objects" / commit[:2] / commit[2:]).unlink()
    else:
        (ours / ".git/refs/heads/main").write_text("")
    said = str(git.explain_unknown(ours))
    assert "names no commit that is here" in said or "git says: " in said


def test_a_git_that_cannot_be_asked_is_not_called_absent(
    ours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert git.explain_unknown(tmp_path / "none") == f"{tmp_path / 'none'} is no folder"
    assert git.explain_unknown(ours / "params.yaml") == f"{ours / 'params.yaml'} is no folder"
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/git").write_bytes(b"\x7fELF of another machine")
    (tmp_path / "bin/git").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert git.explain_unknown(ours) == "git cannot be started: Exec format error"
    (tmp_path / "bin/git").chmod(0o644)
    assert git.explain_unknown(ours) == "git cannot be started: Permission denied"
    assert git.resolve_commit(ours) is None


def test_names_of_no_character_set_are_listed(ours: Path) -> None:
    name = os.fsencode(ours / "src") + b"/\xe4.py"
    Path(os.fsdecode(name)).write_text("old")
    run_git(ours, "add", ".")
    run_git(ours, "commit", "-q", "-m", "one more")
    Path(os.fsdecode(name)).write_text("new")
    assert git.changed_files(ours) == ["src/\\xe4.py"]


def test_a_git_that_speaks_german_is_asked_in_english(
    ours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    english, german = "fatal: Needed a single revision", "Schwerwiegend: Benötigte einen einzelnen Commit"
    said = f'test "$LC_ALL$LANGUAGE" = C && echo "{english}" >&2 || echo "{german}" >&2; exit 128'
    fake_git(tmp_path / "bin", said, monkeypatch)
    monkeypatch.setenv("LANGUAGE", "de")
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    assert git.explain_unknown(ours) == "the repository has no commit yet"


def test_a_git_that_does_not_answer_is_not_taken_for_no_changes(
    ours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_git(tmp_path / "bin", f'echo "{DUBIOUS}" >&2; exit 128', monkeypatch)
    with pytest.raises(git.GitError, match=r"Nobody knows what changed in .*dubious ownership.*Next: "):
        git.changed_files(ours)


def shallow_copy(root: Path, clone: Path) -> Path:
    run_git(root, "clone", "-q", "--depth=1", f"file://{root}", str(clone))
    return clone


def publish_revision(root: Path, revision: Revision) -> None:
    (root / "reports").mkdir(exist_ok=True)
    (root / "reports/provenance.json").write_text(json.dumps({"revision": asdict(revision)}))
    run_git(root, "add", ".")
    run_git(root, "commit", "-q", "-m", "results only")


def test_a_shallow_clone_knows_the_revision_that_the_report_names(ours: Path, tmp_path: Path) -> None:
    code = find_code_revision(ours)
    assert code is not None
    publish_revision(ours, code)
    assert find_code_revision(ours) == code
    assert find_code_revision(shallow_copy(ours, tmp_path / "shallow")) == code


def test_a_shallow_clone_of_other_code_does_not_know_its_revision(ours: Path, tmp_path: Path) -> None:
    code = find_code_revision(ours)
    assert code is not None
    publish_revision(ours, Revision(code.commit, dirty=False, tree="0" * 64))
    assert find_code_revision(shallow_copy(ours, tmp_path / "shallow")) is None
    (tmp_path / "deep").mkdir()
    run_git(ours, "clone", "-q", f"file://{ours}", str(tmp_path / "deep"))
    assert find_code_revision(tmp_path / "deep") == code


def test_a_shallow_clone_that_has_the_commit_says_so_by_itself(ours: Path, tmp_path: Path) -> None:
    run_git(ours, "commit", "-q", "--allow-empty", "-m", "before")
    (ours / "params.yaml").write_text("newer")
    run_git(ours, "commit", "-q", "-am", "code")
    run_git(ours, "commit", "-q", "--allow-empty", "-m", "after")
    run_git(ours, "clone", "-q", "--depth=3", f"file://{ours}", str(tmp_path / "clone"))
    code = find_code_revision(tmp_path / "clone")
    assert code is not None
    assert code.commit == run_git(ours, "rev-parse", "HEAD~1")
