"""A finished repository with made-up predictions, built once."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from latentwire.reporting.figures import draw_figures
from latentwire.reporting.report_data import ReportData, read_report_data
from latentwire.reporting.style import DrawnFigure
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
def drawn(aggregated: Path, tmp_path_factory: pytest.TempPathFactory) -> list[DrawnFigure]:
    """The figures of that repository, drawn once."""
    return draw_figures(read_report_data(aggregated / "results/aggregate", NAMES), tmp_path_factory.mktemp("drawn"))


@pytest.fixture
def drawn_before(drawn: list[DrawnFigure], monkeypatch: pytest.MonkeyPatch) -> None:
    """`build_report` copies the figures instead of drawing them again, for tests that look at something else."""

    def copied(_: ReportData, folder: Path) -> list[DrawnFigure]:
        return [
            DrawnFigure(figure.name, tuple(Path(shutil.copy(path, folder)) for path in figure.paths), figure.ids)
            for figure in drawn
        ]

    monkeypatch.setattr("latentwire.reporting.build.draw_figures", copied)


@pytest.fixture(autouse=True)
def _no_tracking(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stages publish nothing: MLflow has tests of its own, and opening its store takes seconds."""
    monkeypatch.setattr(publish, "publish_journals", lambda *_: None)
    monkeypatch.setattr(publish, "publish_statistics", lambda *_: None)
