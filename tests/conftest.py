"""For all tests."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.support.process_state import ProcessState

# `git commit` in a linked worktree runs its hooks with GIT_DIR set: tests that make repositories would write into it.
for _name in [name for name in os.environ if name.startswith("GIT_") and not name.startswith("GIT_CONFIG_")]:
    del os.environ[_name]


AT_THE_START = ProcessState.read()


@pytest.fixture(autouse=True, scope="module")
def nothing_is_left_by_the_fixtures_of_a_module() -> Iterator[None]:
    """What they set holds for the tests of the module."""
    AT_THE_START.put_back()
    yield
    AT_THE_START.put_back()


@pytest.fixture(autouse=True)
def nothing_is_left_by_a_test() -> Iterator[None]:
    """A stage that a test runs in this process sets torch up and catches signals: later tests must not inherit that."""
    before = ProcessState.read()
    yield
    before.put_back()
