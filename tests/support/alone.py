"""What stands beside a program in the process of the tests, which imports them all: a census would walk through it."""

from __future__ import annotations

import sys

from unbroken.prove.roots import is_own_module


def judge_modules() -> None:
    """Whose each module is takes a look at the disk, which every fork would take again."""
    for name in tuple(sys.modules):
        is_own_module(name)


def list_other_tests() -> list[str]:
    """Modules of tests in which no function of the stack stands."""
    running: set[str] = set()
    frame = sys._getframe(1)
    while frame:
        running.add(frame.f_globals.get("__name__", ""))
        frame = frame.f_back  # type: ignore[assignment]
    return [name for name in sys.modules if name.startswith("tests.") and ".test_" in name and name not in running]
