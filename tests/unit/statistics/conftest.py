"""A repository with made-up predictions, for tests that only read it or copy it first."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from latentwire.statistics.comparisons import StatsRecord
from latentwire.tracking import publish
from tests.support.session import make_once, shared_folder
from tests.support.synthetic_predictions import aggregate, build


@pytest.fixture(scope="session")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same for all workers; nobody writes into it."""
    return make_once(shared_folder(tmp_path_factory) / "pristine", lambda root: build(root, count=120))


@pytest.fixture(scope="session")
def aggregated(pristine: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """It after the stage `aggregate`, the same for all workers; nobody writes into it."""

    def make(root: Path) -> None:
        shutil.copytree(pristine, root)
        aggregate(root)

    return make_once(shared_folder(tmp_path_factory) / "pristine-aggregated", make)


@pytest.fixture
def computed(aggregated: Path) -> StatsRecord:
    """Its statistics."""
    stats: StatsRecord = json.loads((aggregated / "results/aggregate/stats.json").read_text(encoding="utf-8"))
    return stats


@pytest.fixture
def repository(pristine: Path, tmp_path: Path) -> Path:
    """A copy to be changed."""
    root = tmp_path / "repository"
    shutil.copytree(pristine, root)
    return root


@pytest.fixture(autouse=True)
def _no_tracking(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stages publish nothing: MLflow has tests of its own, and opening its store takes seconds."""
    monkeypatch.setattr(publish, "publish_journals", lambda *_: None)
    monkeypatch.setattr(publish, "publish_statistics", lambda *_: None)
