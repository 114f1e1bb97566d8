"""A finished repository with made-up predictions, built once."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from latentwire.reporting.facts import Facts, read
from latentwire.reporting.figures import all_figures
from latentwire.reporting.style import Drawn
from latentwire.tracking import publish
from tests.support.synthetic_predictions import NAMES, aggregate, build


@pytest.fixture(scope="session")
def aggregated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository after the stage `aggregate`; nobody writes into it."""
    root = tmp_path_factory.mktemp("aggregated")
    build(root)
    aggregate(root)
    return root


@pytest.fixture(scope="session")
def drawn(aggregated: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Drawn]:
    """The figures of that repository, drawn once."""
    return all_figures(read(aggregated / "results/aggregate", NAMES), tmp_path_factory.mktemp("drawn"))


@pytest.fixture
def drawn_before(drawn: list[Drawn], monkeypatch: pytest.MonkeyPatch) -> None:
    """`build` copies the figures instead of drawing them again, for tests that look at something else."""

    def copied(_: Facts, folder: Path) -> list[Drawn]:
        return [Drawn(one.name, tuple(Path(shutil.copy(path, folder)) for path in one.paths), one.ids) for one in drawn]

    monkeypatch.setattr("latentwire.reporting.build.all_figures", copied)


@pytest.fixture(autouse=True)
def _no_tracking(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stages publish nothing: MLflow has tests of its own, and opening its store takes seconds."""
    monkeypatch.setattr(publish, "publish_journals", lambda *_: None)
    monkeypatch.setattr(publish, "publish_statistics", lambda *_: None)
