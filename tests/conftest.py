"""For all tests."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from unbroken.preemption import SIGNALS, StopFlag

# `git commit` in a linked worktree runs its hooks with GIT_DIR set: tests that make repositories would write into it.
for _name in [name for name in os.environ if name.startswith("GIT_") and not name.startswith("GIT_CONFIG_")]:
    del os.environ[_name]


@pytest.fixture(autouse=True)
def no_stop_flag_is_left() -> Iterator[None]:
    """A stage that a test runs in this process catches the signals; later tests must not inherit that."""
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    installed = StopFlag._installed
    yield
    if StopFlag._installed is not installed:
        signal.set_wakeup_fd(-1)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        StopFlag._installed = installed
