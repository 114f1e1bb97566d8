"""`unbroken` as its users have it: the wheel in an environment that sees torch, but not this repository."""

from __future__ import annotations

import re
import subprocess
import sys
import sysconfig
from pathlib import Path

SOURCE = Path(__file__).parents[2] / "src/unbroken"
EXAMPLES: list[str] = re.findall(r"```python\n(.*?)```", (SOURCE / "README.md").read_text(encoding="utf-8"), re.DOTALL)


def build_wheel(folder: Path) -> Path:
    """The wheel of `src/unbroken`; its build backend comes from the package index."""
    command = (sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, SOURCE)
    subprocess.run(command, check=True, cwd=folder)
    (wheel,) = folder.glob("unbroken-*.whl")
    return wheel


def make_environment(folder: Path, wheel: Path, python: str = sys.executable) -> Path:
    """A new environment with the wheel; everything else is that of this Python, without its editable installs.

    Returns:
        Its `python`.
    """
    subprocess.run([python, "-m", "venv", "--without-pip", folder], check=True)
    packages = folder / f"lib/python3.{sys.version_info.minor}/site-packages"
    # A .pth file in a folder that another .pth file names is not read, so `latentwire` is not here.
    (packages / "base.pth").write_text(sysconfig.get_path("purelib") + "\n")
    install = ("install", "--quiet", "--no-deps", "--no-index", "--target", packages, wheel)
    subprocess.run([sys.executable, "-m", "pip", *install], check=True)
    return folder / "bin/python"


def write_example(path: Path, pause_s: float = 0.0) -> Path:
    """The README's first program, which waits after each step: as long as PAUSE_S says, else `pause_s`."""
    path.write_text(_slow_down(EXAMPLES[0], pause_s))
    return path


def write_rank_example(path: Path, pause_s: float = 0.0) -> Path:
    """The README's program for several processes: the head of the first one, and the end that the page gives."""
    head, mark, _ = EXAMPLES[0].partition("\nfolder = ")
    assert mark
    ranks = next(example for example in EXAMPLES if "join_group" in example)
    assert ranks.count("\nfolder = ") == 1
    path.write_text(_slow_down(f"{head}\n{ranks}", pause_s))
    return path


def _slow_down(program: str, pause_s: float) -> str:
    last = "        run.log(loss=loss)"
    assert last in program
    pause = f"float(__import__('os').environ.get('PAUSE_S') or {pause_s})"
    return program.replace(last, f"        __import__('time').sleep({pause})\n{last}")
