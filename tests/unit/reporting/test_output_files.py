"""Nothing is written through a link: with DVC's link types, a result and the cache are one file."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from latentwire.exits import exit_code_of
from latentwire.output_files import replace_file, write_text_file
from latentwire.stages import aggregate, report
from tests.support.workspace import ROOT


def break_off(path: Path) -> None:
    with replace_file(path) as partial:
        partial.write_text("half")
        print(1 / 0)


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("old")
    with pytest.raises(ZeroDivisionError):
        break_off(tmp_path / "a")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert write_text_file(tmp_path / "a", "é").read_bytes() == "é".encode()
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("link", [os.symlink, os.link])
@pytest.mark.usefixtures("drawn_before")
@pytest.mark.long
def test_stages_do_not_write_into_the_cache(
    link: Callable[[Path, Path], None], aggregated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work, cache = tmp_path / "work", tmp_path / "cache"
    shutil.copytree(aggregated, work, symlinks=False)
    (work / "reports").mkdir(exist_ok=True)
    shutil.copytree(ROOT / "reports/templates", work / "reports/templates", dirs_exist_ok=True)
    monkeypatch.chdir(work)
    monkeypatch.setattr("latentwire.pipeline.report.compile_paper", lambda _: None)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    assert exit_code_of(report.main, []) == 0
    cache.mkdir()
    outs = [path for folder in ("results/aggregate", "reports") for path in Path(folder).rglob("*") if path.is_file()]
    kept = {}
    for number, path in enumerate(outs):
        stored = cache / str(number)
        shutil.move(path, stored)
        stored.write_bytes(stored.read_bytes() + b"older")
        kept[stored] = stored.read_bytes()
        link(stored, path.absolute())
    assert exit_code_of(aggregate.main, []) == 0
    assert exit_code_of(report.main, []) == 0
    assert {path: path.read_bytes() for path in kept} == kept
