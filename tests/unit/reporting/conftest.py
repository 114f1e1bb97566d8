"""A finished repository with made-up predictions, built once."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from latentwire.reporting.figures import draw_figures
from latentwire.reporting.report_data import ReportData, read_report_data
from latentwire.reporting.style import DrawnFigure
from latentwire.tracking import publish
from tests.support.session import make_once, shared_folder
from tests.support.synthetic_predictions import NAMES, aggregate, build


@pytest.fixture(scope="session")
def aggregated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository after the stage `aggregate`, the same for all workers; nobody writes into it."""

    def make(root: Path) -> None:
        build(root)
        aggregate(root)

    return make_once(shared_folder(tmp_path_factory) / "aggregated", make)


@pytest.fixture(scope="session")
def drawn(aggregated: Path, tmp_path_factory: pytest.TempPathFactory) -> list[DrawnFigure]:
    """The figures of that repository, drawn once for all workers."""

    def make(root: Path) -> None:
        root.mkdir()
        figures = draw_figures(read_report_data(aggregated / "results/aggregate", NAMES), root)
        (root / "figures.pickle").write_bytes(pickle.dumps(figures))

    made = make_once(shared_folder(tmp_path_factory) / "drawn", make)
    figures: list[DrawnFigure] = pickle.loads((made / "figures.pickle").read_bytes())
    return figures


@pytest.fixture(scope="session")
def copying(drawn: list[DrawnFigure]) -> Callable[[], AbstractContextManager[None]]:
    """In its context `build_report` copies the figures instead of drawing them again, which takes seconds."""

    def copied(_: ReportData, folder: Path) -> list[DrawnFigure]:
        return [
            DrawnFigure(figure.name, tuple(Path(shutil.copy(path, folder)) for path in figure.paths), figure.ids)
            for figure in drawn
        ]

    @contextmanager
    def context() -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("latentwire.reporting.build.draw_figures", copied)
            yield

    return context


@pytest.fixture
def drawn_before(copying: Callable[[], AbstractContextManager[None]]) -> Iterator[None]:
    """A whole test in that context, as it looks at something else."""
    with copying():
        yield


@pytest.fixture(autouse=True)
def _no_tracking(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stages publish nothing: MLflow has tests of its own, and opening its store takes seconds."""
    monkeypatch.setattr(publish, "publish_journals", lambda *_: None)
    monkeypatch.setattr(publish, "publish_statistics", lambda *_: None)
