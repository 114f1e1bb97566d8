"""`make clean` and `make distclean` in a small repository: what they remove, and what they must not."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TRACKED = ("results/aggregate/stats.json", "reports/provenance.json", "reports/templates/curves.json", "src/code.py")
HOURS_OF_WORK = (
    *("state/wire-r8-0-0123456789ab/checkpoints/step-00000007/tensors.safetensors", "parked/wire-r8-0/x"),
    ".cache/profiles/full/state/wire-r8-0-0123456789ab/checkpoints/step-00000007/tensors.safetensors",
)
COMPUTED = (
    *("results/train/wire-r8-0/tensors.safetensors", "results/train/wire-r8-0.json", "results/aggregate/figures.json"),
    *("reports/figures/main.pdf", "reports/tables/main.tex", "reports/paper.pdf", "reports/report.html"),
    *(".venv/bin/python", ".cache/dvc/x", ".pytest_cache/x", ".hypothesis/x"),
)
FETCHED = ("assets/model.whl", "mlflow.db", "mlartifacts/0/x", "latentwire.sif")
OWN = ("slurm/site.env", "notes.txt")
"""Written by hand; git ignores the first and does not know the second."""

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="no make here")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A repository with the real Makefile and .gitignore, and a file of every kind."""
    root = tmp_path / "tree"  # its parent, in which a test makes a repository, is nobody else's
    root.mkdir()
    for name in ("Makefile", ".gitignore"):
        shutil.copy(ROOT / name, root)
    for name in (*TRACKED, *HOURS_OF_WORK, *COMPUTED, *FETCHED, *OWN):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    subprocess.run(["git", "init", "-q"], cwd=root, check=True)
    subprocess.run(["git", "add", "Makefile", ".gitignore", *TRACKED], cwd=root, check=True)
    return root


def make(tree: Path, *arguments: str, typed: str | None = None, **variables: str) -> tuple[int, str]:
    """Run make, on a terminal where something is typed; exit code, and what it printed."""
    environment = {name: value for name, value in os.environ.items() if name != "CONFIRM"} | variables
    if typed is None:
        terminal = screen = None
    else:
        terminal, screen = os.openpty()
        os.write(terminal, f"{typed}\n".encode())
    try:
        done = subprocess.run(
            ["make", *arguments],
            cwd=tree,
            env=environment,
            stdin=subprocess.DEVNULL if screen is None else screen,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
        )
    finally:
        for descriptor in (terminal, screen):
            if descriptor is not None:
                os.close(descriptor)
    return done.returncode, done.stdout


def left(tree: Path, names: tuple[str, ...]) -> list[str]:
    return [name for name in names if (tree / name).exists()]


def test_clean_spares_checkpoints_and_what_git_tracks(tree: Path) -> None:
    code, said = make(tree, "clean")
    assert code == 0, said
    assert left(tree, COMPUTED) == []
    for spared in (TRACKED, HOURS_OF_WORK, FETCHED, OWN):
        assert left(tree, spared) == list(spared)


def test_clean_of_a_clean_tree(tree: Path) -> None:
    make(tree, "clean")
    shutil.rmtree(tree / "results")
    assert make(tree, "clean")[0] == 0


def everything_is_left(tree: Path) -> bool:
    return all(left(tree, names) == list(names) for names in (TRACKED, HOURS_OF_WORK, COMPUTED, FETCHED, OWN))


@pytest.mark.parametrize("arguments", [["clean"], ["distclean", "CONFIRM=yes"]])
@pytest.mark.parametrize("inside_another", [False, True])
def test_outside_git_nothing_is_removed(tree: Path, arguments: list[str], inside_another: bool) -> None:
    shutil.rmtree(tree / ".git")
    if inside_another:
        subprocess.run(["git", "init", "-q"], cwd=tree.parent, check=True)
    code, said = make(tree, *arguments)
    assert code == 2
    assert "is not the top of a git checkout" in said
    assert everything_is_left(tree)


def test_distclean_without_a_terminal_wants_to_be_told(tree: Path) -> None:
    code, said = make(tree, "distclean")
    assert code == 2
    assert "no terminal to ask on. Next: make distclean CONFIRM=yes" in said
    assert everything_is_left(tree)


@pytest.mark.parametrize("typed", ["no", "", "y"])
def test_distclean_asks(tree: Path, typed: str) -> None:
    code, said = make(tree, "distclean", typed=typed)
    assert code != 0
    assert "Would remove state/" in said
    assert "Nothing was removed." in said
    assert everything_is_left(tree)


@pytest.mark.parametrize(("arguments", "typed"), [(["CONFIRM=yes"], None), ([], "yes")])
def test_distclean_goes_further_and_spares_what_git_tracks(tree: Path, arguments: list[str], typed: str | None) -> None:
    code, said = make(tree, "distclean", *arguments, typed=typed)
    assert code == 0, said
    assert [left(tree, gone) for gone in (COMPUTED, HOURS_OF_WORK, FETCHED)] == [[], [], []]
    assert left(tree, TRACKED) == list(TRACKED)
    assert left(tree, OWN) == list(OWN)


@pytest.mark.parametrize("name", [".venv", ".cache", "state", "runs", "parked", "assets", "mlartifacts"])
def test_a_link_to_a_larger_disk_is_ignored_and_what_lies_there_is_nobodys_to_remove(name: str, tree: Path) -> None:
    elsewhere = tree.parent / "scratch"
    elsewhere.mkdir()
    (elsewhere / "kept").write_text("hours of work")
    shutil.rmtree(tree / name, ignore_errors=True)
    (tree / name).symlink_to(elsewhere)
    shown = subprocess.run(["git", "status", "--short"], cwd=tree, capture_output=True, text=True, check=True).stdout
    assert name not in [line.split()[-1].strip("/") for line in shown.splitlines()]
    code, said = make(tree, "distclean", "CONFIRM=yes")
    assert code == 0, said
    assert not (tree / name).is_symlink()
    assert (elsewhere / "kept").read_text() == "hours of work"


def test_distclean_removes_the_clones_of_a_sweep(tree: Path) -> None:
    nested = tree / "state/sweep/0123456789ab/wire-r8-0"
    subprocess.run(["git", "init", "-q", nested], check=True)
    code, said = make(tree, "distclean", "CONFIRM=yes")
    assert code == 0, said
    assert not (tree / "state").exists()


@pytest.mark.parametrize("arguments", [["clean"], ["distclean", "CONFIRM=yes"]])
@pytest.mark.parametrize("variables", [{"GIT_DIR": "other/.git"}, {"GIT_INDEX_FILE": "other/index"}])
def test_another_repository_does_not_say_what_is_tracked(
    variables: dict[str, str], arguments: list[str], tree: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """As in a hook, or a shell of one: what is tracked here although it is ignored would be nobody's there."""
    subprocess.run(["git", "add", "--force", COMPUTED[0]], cwd=tree, check=True)
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    subprocess.run(["git", "init", "-q", elsewhere / "other"], check=True)
    code, said = make(tree, *arguments, **{name: str(elsewhere / value) for name, value in variables.items()})
    assert code == 0, said
    assert left(tree, (*TRACKED, *COMPUTED)) == [*TRACKED, COMPUTED[0]]


def test_a_folder_of_any_name_is_said_as_it_is(tmp_path: Path) -> None:
    """A shell would run what stands in backticks."""
    folder = tmp_path / 'say "$HOME" `touch made`'
    folder.mkdir()
    shutil.copy(ROOT / "Makefile", folder)
    code, said = make(folder, "clean")
    assert code == 2
    assert f"error: {folder} is not the top of a git checkout" in said
    assert not (folder / "made").exists()
