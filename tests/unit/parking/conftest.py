from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.parking_machines import Machine
from tests.support.training_fixtures import one_thread, uninterrupted

__all__ = ["machine", "one_thread", "remote", "uninterrupted"]


@pytest.fixture
def remote(tmp_path: Path) -> Path:
    """The folder that is the DVC remote."""
    return tmp_path / "remote"


@pytest.fixture
def machine(tmp_path: Path, remote: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Machine]:
    """Makes machines that share nothing but the remote."""
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "site"))

    def make(name: str) -> Machine:
        root = tmp_path / name
        (root / ".dvc").mkdir(parents=True)
        (root / ".dvc/config").write_text(
            f"[core]\n    analytics = false\n    remote = store\n['remote \"store\"']\n    url = {remote}\n"
        )
        (root / ".dvc/.gitignore").write_text("/tmp\n/cache\n")
        (root / ".gitignore").write_text("/state/\n/parked/\n")
        (root / ".dvcignore").write_text("state\n")
        subprocess.run(["git", "init", "-q"], cwd=root, check=True)
        return Machine(root)

    return make
