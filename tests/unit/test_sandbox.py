"""`latentwire sandbox`: a clone of its own, whatever its folder is called."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from latentwire.cli import run
from latentwire.params.load import load_params
from latentwire.rehearsal.sandbox import ACTIVATE, PUBLISHED, make_sandbox

ROOT = Path(__file__).parents[2]


def test_its_terminal_runs_its_own_code_on_its_own_parameters(tmp_path: Path) -> None:
    folder = tmp_path / "first hour's $HOME"
    said = make_sandbox(ROOT, folder)
    assert "Next: cd '" in said
    assert not [name for name in PUBLISHED if (folder / name).exists()]
    assert list(load_params(folder / "params.yaml").tasks) == ["tiny"]
    show = f". {ACTIVATE} && python -c 'import latentwire; print(latentwire.__file__)' && git status --porcelain"
    done = subprocess.run(["bash", "-ec", show], cwd=folder, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [str(folder / "src/latentwire/__init__.py")]


def test_a_folder_that_is_there_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/file").write_text("mine")
    with pytest.raises(SystemExit, match="2"):
        run(["sandbox", str(tmp_path / "mine"), "--root", str(ROOT)])
    assert "is there already, expected a new folder. Next: name another one." in capsys.readouterr().err
    assert (tmp_path / "mine/file").read_text() == "mine"


def test_where_nothing_is_committed_there_is_nothing_to_clone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    with pytest.raises(SystemExit, match="2"):
        run(["sandbox", str(tmp_path / "new"), "--root", str(tmp_path)])
    assert "has no commit to clone. Next: `git commit` there." in capsys.readouterr().err
