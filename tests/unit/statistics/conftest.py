"""A repository with made-up predictions, for tests that only read it or copy it first."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.unit.statistics.made_up import build


@pytest.fixture(scope="session")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nobody writes into it."""
    root = tmp_path_factory.mktemp("pristine")
    build(root, examples=120)
    return root


@pytest.fixture
def repository(pristine: Path, tmp_path: Path) -> Path:
    """A copy to be changed."""
    root = tmp_path / "repository"
    shutil.copytree(pristine, root)
    return root
