"""What is published is what this code computes: every input that `dvc.lock` records is the one that lies beside it."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from dvc.repo import Repo

from latentwire.pipeline.report import PROVENANCE, find_code_revision
from latentwire.reporting.provenance import parse_revision
from latentwire.result_code import FOLDER, STAGES, result_code_text
from tools.readme import PAGES, write_pages

ROOT = Path(__file__).resolve().parents[2]
TEMPLATES = "src/latentwire/reporting/templates"
CODE_STAGE = "code"
"""Its inputs are whole source files, comments too; what it makes of them is compared instead."""


def list_stale_inputs(root: Path) -> list[str]:
    """`STAGE: INPUT` for every input in git, and the code of every stage, that is not what `dvc.lock` records."""
    return sorted([*_stale_code(root), *_stale_files_and_params(root)])


def _stale_code(root: Path) -> Iterator[str]:
    current = {name: hashlib.md5(result_code_text(name, root)).hexdigest() for name in STAGES}
    for address, stage in yaml.safe_load((root / "dvc.lock").read_text())["stages"].items():
        recorded = {dep["path"]: dep["md5"] for dep in stage.get("deps", [])}
        name = address.split("@")[0]
        path = (FOLDER / f"{name}.json").as_posix()
        if name in current and recorded.get(path) != current[name]:
            yield f"{address}: {path}"


def _stale_files_and_params(root: Path) -> Iterator[str]:
    with Repo(str(root)) as repo:
        for stage in repo.index.stages:
            for dep in stage.deps if stage.name != CODE_STAGE else []:
                if dep.exists and not dep.def_path.startswith(str(FOLDER)) and dep.status():
                    yield f"{stage.name}: {dep.def_path}"


def test_the_pages_have_the_published_tables_and_times(tmp_path: Path) -> None:
    for name in (*PAGES, "params.yaml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    for name in ("results", "reports"):
        (tmp_path / name).symlink_to(ROOT / name)
    write_pages(tmp_path)
    for name in PAGES:
        assert (tmp_path / name).read_bytes() == (ROOT / name).read_bytes(), "next: `make readme`"


def test_every_recorded_input_is_the_one_beside_it() -> None:
    stale = list_stale_inputs(ROOT)
    assert not stale, f"the published results are of other inputs; next: `make repro` and commit what it made: {stale}"


def test_the_report_names_code_that_does_what_the_code_beside_it_does() -> None:
    """Else the next `make repro` would write another paper, although all numbers in it are the same."""
    published = parse_revision((ROOT / PROVENANCE).read_bytes())
    here = find_code_revision(ROOT)
    assert not published.dirty
    assert here is not None
    assert published.tree == here.tree, "next: `dvc repro report` where the results are, and commit what it made"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    for name in ("src", ".dvc"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("cache", "tmp", "__pycache__"))
    for name in ("dvc.yaml", "dvc.lock", "params.yaml", "assets.lock", ".dvcignore"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / ".dvc/config.local").write_text("[core]\n    no_scm = true\n")
    return tmp_path


@pytest.mark.parametrize(
    ("name", "old", "new", "expected"),
    [
        ("params.yaml", "lr: 0.002", "lr: 0.003", "train@wire-r8-0: params.yaml"),
        ("src/latentwire/models/baselines.py", "train.shape[1]", "train.shape[0]", "results/code/baseline.json"),
        ("assets.lock", "\n", "\n\n", "prepare: assets.lock"),
        (
            "src/latentwire/reporting/templates/paper.tex.j2",
            "\n",
            "\n%\n",
            "report: src/latentwire/reporting/templates",
        ),
    ],
)
def test_another_input_is_noticed(copy: Path, name: str, old: str, new: str, expected: str) -> None:
    text = (copy / name).read_text()
    assert old in text
    (copy / name).write_text(text.replace(old, new, 1))
    assert any(expected in line for line in list_stale_inputs(copy))


def test_other_words_are_not_another_input(copy: Path) -> None:
    module = copy / "src/latentwire/models/baselines.py"
    module.write_text("# A remark.\n" + module.read_text())
    assert list_stale_inputs(copy) == []
