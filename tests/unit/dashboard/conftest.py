"""A repository of which items have an identity without data and models."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from latentwire import identities
from latentwire.dashboard.command import PageMaker
from latentwire.item import TrainItem
from tests.support.dashboard_pages import ParsedPage, Show, short_of

ROOT = Path(__file__).parents[3]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a repository; each item has an identity of its own."""
    shutil.copy(ROOT / "params.yaml", tmp_path)

    def identity(values: object, item: TrainItem, root: Path) -> SimpleNamespace:
        return SimpleNamespace(short=short_of(item.name))

    monkeypatch.setattr(identities, "identity_of", identity)
    return tmp_path


@pytest.fixture
def show(root: Path) -> Show:
    """Makes the page."""
    return lambda item=None, seconds=10.0: ParsedPage(PageMaker(root, item, seconds).make().text)
