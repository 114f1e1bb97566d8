"""A whole MLflow database for each test, copied from one made once."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from latentwire.tracking.store import create_database
from tests.support import mirrored_training
from tests.support.mlflow_database import Database


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole, empty MLflow database: making one takes seconds."""
    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    create_database(path)
    return path


@pytest.fixture
def database(tmp_path: Path, template: Path, monkeypatch: pytest.MonkeyPatch) -> Database:
    """An MLflow store of its own in a temporary repository."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    shutil.copy(template, tmp_path / "mlflow.db")
    return Database(tmp_path)


@pytest.fixture
def start() -> Callable[..., subprocess.Popen[str]]:
    """Start mirrored_training.py as a process of its own."""

    def start(root: Path, *arguments: int) -> subprocess.Popen[str]:
        path = os.pathsep.join(entry for entry in sys.path if entry)
        return subprocess.Popen(
            [sys.executable, "-W", "error", mirrored_training.__file__, str(root), *map(str, arguments)],
            env={**os.environ, "PYTHONPATH": path},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    return start
