"""Fixtures of every folder whose tests train the toy."""

from __future__ import annotations

import pytest
import torch

from tests.support import toy_training


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The export of a run that nothing disturbed."""
    root = tmp_path_factory.mktemp("uninterrupted")
    toy_training.train(root / "run", root / "export")
    return toy_training.contents(root / "export")
