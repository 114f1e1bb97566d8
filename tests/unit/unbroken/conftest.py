"""What tests of `unbroken` share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.training_fixtures import one_thread, uninterrupted

__all__ = ["one_thread", "scripts_find_each_other", "uninterrupted"]
ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="session", autouse=True)
def scripts_find_each_other() -> Iterator[None]:
    """Trainings of tests.support run as processes of their own and import other modules of it."""
    paths = [str(ROOT / "src"), str(ROOT), os.environ.get("PYTHONPATH", "")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))
        yield


@pytest.fixture(scope="session", autouse=True)
def abandoned_workers_are_not_waited_for() -> Iterator[None]:
    """A loop that is left in the middle leaves a loader's workers, which torch gives 5 s each before it ends them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("torch.utils.data._utils.MP_STATUS_CHECK_INTERVAL", 0.2)
        yield
