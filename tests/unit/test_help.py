"""`--help` of every program ends with 0, starts nothing and writes nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from latentwire.cli import app

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[2]


def list_programs() -> list[str]:
    """Every file and package that one can start, as arguments of Python."""
    files = sorted([*ROOT.glob("tools/*.py"), *ROOT.glob("benchmarks/*.py"), *ROOT.glob("src/latentwire/stages/*.py")])
    programs = [path for path in files if "__main__" in path.read_text(encoding="utf-8")]
    commands = [f"latentwire {command.name}" for command in app.registered_commands]
    modules = [".".join(path.relative_to(ROOT / "src").with_suffix("").parts) for path in programs_of_packages()]
    return [*(str(path.relative_to(ROOT)) for path in programs), *modules, "unbroken prove", "latentwire", *commands]


def programs_of_packages() -> list[Path]:
    """What `python -m PACKAGE` starts."""
    return sorted((ROOT / "src/unbroken").rglob("__main__.py"))


@pytest.mark.parametrize("program", list_programs())
def test_help_only_helps(program: str, tmp_path: Path) -> None:
    module, *command = program.removeprefix("src/").removesuffix(".py").replace("/", ".").split()
    words = ["-c", "from latentwire.cli import run; run()"] if module == "latentwire" else ["-m", module]
    shutil.copy(ROOT / "params.yaml", tmp_path)  # stages are started where it is
    paths = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
    done = subprocess.run(
        [sys.executable, *words, *command, "--help"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": paths, "HOME": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "usage" in done.stdout.lower()
    assert "--help" in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["params.yaml"]
