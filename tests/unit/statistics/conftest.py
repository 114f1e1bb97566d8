"""A repository with made-up predictions, for tests that only read it or copy it first."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from latentwire.tracking import publish
from tests.support.session import make_once, shared_folder
from tests.support.synthetic_predictions import build


@pytest.fixture(scope="session")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same for all workers; nobody writes into it."""
    return make_once(shared_folder(tmp_path_factory) / "pristine", lambda root: build(root, count=120))


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
