from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support import workspace
from tests.support.workspace import TRAIN, Workspace


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace whose data and features are ready; not to be changed."""
    made = workspace.make(tmp_path_factory.mktemp("prepared") / "repo")
    made.stage("prepare")
    made.stage("encode", "--task", "tiny")
    return made


@pytest.fixture(scope="session")
def uninterrupted(prepared: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace in which the item was trained without any interruption; not to be changed."""
    trained = workspace.copy(prepared, tmp_path_factory.mktemp("uninterrupted") / "repo")
    trained.stage(*TRAIN)
    return trained


@pytest.fixture
def fresh(prepared: Workspace, tmp_path: Path) -> Callable[..., Workspace]:
    """Makes a copy of the prepared workspace with changed parameters."""
    return lambda **changes: workspace.copy(prepared, tmp_path / "repo", **changes)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace after `dvc repro` of two seeds; not to be changed."""
    made = workspace.make(tmp_path_factory.mktemp("finished") / "repo", train__seeds=[0, 1], train__steps=12)
    made.dvc("repro")
    return made


def pytest_collection_modifyitems(items: list[Any]) -> None:
    """Stories that start many processes come last, so that a broken unit is reported first."""
    items.sort(key=lambda item: "pipeline" in str(item.path))
