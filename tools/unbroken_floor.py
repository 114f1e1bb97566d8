"""Test `unbroken` with exactly the oldest versions that its pyproject.toml allows; run by `make test-unbroken-floor`.

In a temporary environment of its own: the unit tests, then the README's example under `prove` from the installed wheel.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src/unbroken"
TESTS = "tests/unit/unbroken"
ELSEWHERE = ("test_benchmark.py", "integrations")
"""What needs latentwire, or the libraries of trainers, each of which asks for versions of its own."""
TIERS = "not slow and not cluster"
PACKAGES_OF_TESTS = ("pytest", "hypothesis", "safetensors", "scikit-learn")


def main(arguments: Sequence[str] | None = None) -> None:
    """Make the environment, and run what it is for; the exit code is that of what failed first."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", default=sys.executable, help="interpreter to test with (this one)")
    parser.add_argument("--versions", nargs="*", help="such as torch==2.6.0 (the oldest that are allowed)")
    chosen = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        python = install(Path(folder), chosen.python, chosen.versions or oldest_versions())
        run_checks(python, Path(folder))


def oldest_versions() -> list[str]:
    """`torch==2.6`, and so on: the dependencies with their lower bounds, and for which Python each is meant."""
    project = tomllib.loads((SOURCE / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return [dependency.replace(">=", "==", 1) for dependency in project["dependencies"]]


def install(folder: Path, python: str, versions: Sequence[str]) -> Path:
    """A new environment with the wheel and these versions; its `python`."""
    subprocess.run([python, "-m", "venv", folder / "environment"], check=True)
    inside = folder / "environment/bin/python"
    pip = (inside, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-cache-dir")
    subprocess.run([*pip, SOURCE, *versions, *PACKAGES_OF_TESTS], check=True)
    return inside


def run_checks(python: Path, folder: Path) -> None:
    """The unit tests on the sources, and `prove` on the wheel."""
    ignored = [f"--ignore={TESTS}/{name}" for name in ELSEWHERE]
    _run(python, ROOT, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", TIERS, *ignored, TESTS)
    text = (SOURCE / "README.md").read_text(encoding="utf-8")
    program = folder / "train.py"
    program.write_text(text.partition("```python\n")[2].partition("```")[0], encoding="utf-8")
    _run(python, folder, "-m", "unbroken", "prove", "--", str(python), str(program))


def _run(python: Path, folder: Path, *arguments: str) -> None:
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run([python, *arguments], cwd=folder, env={**variables, "OMP_NUM_THREADS": "1"}, check=False)
    if done.returncode != 0:
        raise SystemExit(done.returncode)


if __name__ == "__main__":
    main()
