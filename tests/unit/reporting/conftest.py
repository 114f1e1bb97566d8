"""A finished repository with made-up predictions, built once."""

from __future__ import annotations

from pathlib import Path

import pytest

from latentwire.tracking import publish
from tests.unit.statistics.made_up import aggregate, build


@pytest.fixture(scope="session")
def aggregated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository after the stage `aggregate`; nobody writes into it."""
    root = tmp_path_factory.mktemp("aggregated")
    build(root)
    aggregate(root)
    return root


@pytest.fixture(autouse=True)
def _no_tracking(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stages publish nothing: MLflow has tests of its own, and opening its store takes seconds."""
    monkeypatch.setattr(publish, "publish_journals", lambda *_: None)
    monkeypatch.setattr(publish, "publish_statistics", lambda *_: None)
