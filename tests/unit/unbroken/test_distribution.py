"""What `pip install ./src/unbroken` promises; tests/cluster/test_unbroken_alone.py installs it."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import unbroken
from tools.unbroken_floor import ELSEWHERE, TESTS, oldest_versions

ROOT = Path(__file__).parents[3]
PACKAGE = ROOT / "src/unbroken"
PROJECT = tomllib.loads((PACKAGE / "pyproject.toml").read_text())["project"]
README = (PACKAGE / "README.md").read_text(encoding="utf-8")


def imported_packages() -> set[str]:
    """Top-level packages that the modules import, other than the standard library and themselves."""
    paths = (path for path in PACKAGE.rglob("*.py") if "integrations" not in path.parts)  # each has an extra of its own
    names = {name.partition(".")[0] for path in paths for name in _imports(ast.parse(path.read_text()))}
    return names - set(sys.stdlib_module_names) - {"unbroken"}


def _imports(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or "unbroken"
            yield from (f"{node.module or 'unbroken'}.{alias.name}" for alias in node.names)


def test_the_dependencies_are_what_is_imported() -> None:
    declared = [Requirement(dependency) for dependency in PROJECT["dependencies"]]
    assert imported_packages() == {one.name for one in declared}
    assert all(re.fullmatch(r">=[\d.]+", str(one.specifier)) for one in declared)


def test_tests_of_the_oldest_versions_import_nothing_of_this_repository() -> None:
    """There it is not installed; helpers of tests are followed."""
    left = [path for path in (ROOT / TESTS).glob("test_*.py") if path.name not in ELSEWHERE]
    seen: set[Path] = set()
    while left:
        path = left.pop()
        seen.add(path)
        names = set(_imports(ast.parse(path.read_text(encoding="utf-8"))))
        strange = [name for name in names if name.partition(".")[0] in ("latentwire", "benchmarks")]
        assert not strange, f"{path} imports {strange}"
        files = {ROOT / f"{name.replace('.', '/')}.py" for name in names}
        left += [file for file in files - seen if file.is_file()]


def floor_for(python: str) -> list[str]:
    """What `make test-unbroken-floor` installs with this Python."""
    oldest = map(Requirement, oldest_versions())
    return [
        f"{one.name}{one.specifier}"
        for one in oldest
        if not one.marker or one.marker.evaluate({"python_version": python})
    ]


def test_the_floor_is_what_the_page_says_and_make_tests() -> None:
    said = re.search(r"torch\s+from (\S+) and numpy from (\d+\.\d+) \(with Python (\S+) from (\S+)\)\.", README)
    assert said is not None
    versions = [line.rpartition(" ")[2] for line in PROJECT["classifiers"] if "Python :: 3." in line]
    assert f"Python {versions[0]} to {versions[-1]}" in README
    for python in versions:  # exactly one of each: pip refuses numpy 1.26 with Python 3.13
        numpy = said[4] if python == said[3] else said[2]
        assert floor_for(python) == [f"torch=={said[1]}", f"numpy=={numpy}"]


def test_the_licence_is_that_of_the_repository() -> None:
    assert (PACKAGE / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()


def test_the_page_prints_the_batch_script() -> None:
    script = (PACKAGE / "train.sbatch").read_text()
    assert f"```bash\n{script}```" in README
    assert len(script.splitlines()) <= 30


def test_every_name_of_the_package_is_loaded() -> None:
    assert [name for name in unbroken.__all__ if getattr(unbroken, name).__name__ != name] == []


NAMING = next(block for block in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if "open_run_folder" in block)


@pytest.mark.parametrize(
    ("edit", "is_another"),
    [("# In other words.\n", False), ("settings['lr'] = 0.02\n", True)],
    ids=["comment", "statement"],
)
def test_a_run_is_named_by_what_defines_it(edit: str, is_another: bool, tmp_path: Path) -> None:
    """The program of the page, as the file `train.py` whose digest is a part of the name."""
    program = tmp_path / "train.py"
    for text in (NAMING, NAMING + edit):
        program.write_text(text)
        done = subprocess.run([sys.executable, program], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert len(list((tmp_path / "runs").glob("toy-*"))) == 1 + is_another
    assert ("is not used for" in done.stdout) == is_another
