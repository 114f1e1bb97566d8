"""Forks of the process of the tests, which imports them all, and what a census of a program shall not walk through."""

from __future__ import annotations

import gc
import os
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path

from unbroken.prove.roots import is_own_module


def judge_modules() -> None:
    """Whose each module is takes a look at the disk, which every fork would take again."""
    for name in tuple(sys.modules):
        is_own_module(name)


def list_strangers() -> list[str]:
    """Modules of this repository that no program of `unbroken` uses, and in which no function of the stack stands."""
    running: set[str] = set()
    frame = sys._getframe(1)
    while frame:
        running.add(frame.f_globals.get("__name__", ""))
        frame = frame.f_back  # type: ignore[assignment]
    return [name for name in sys.modules if _is_strange(name) and name not in running]


def _is_strange(name: str) -> bool:
    package = name.partition(".")[0]
    return package == "latentwire" or (package == "tests" and ".test_" in name)


def start_as_program(variables: Mapping[str, str], log: Path, action: Callable[[], object]) -> int:
    """A start of a program, without the import of torch: a fork that has these variables alone, and prints to the log.

    Returns its exit status, as `in_child`.
    """

    def start() -> None:
        os.environ.clear()
        os.environ.update(variables)
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        action()

    return in_child(start)


def in_child(action: Callable[[], object], keep: str = "") -> int:
    """Run in a forked process (no import cost); returns its exit status as os.waitstatus_to_exitcode does.

    Modules of this repository that nobody needs there are gone from it, but for those whose name begins with `keep`.
    """
    judge_modules()
    pid = os.fork()
    if pid == 0:
        code = 1
        gc.freeze()  # a census then lists what the program has made, not all that the tests have imported
        for name in list_strangers():
            if not (keep and name.startswith(keep)):
                del sys.modules[name]
        try:
            action()
            code = 0
        except SystemExit as exit_:
            code = int(exit_.code or 0)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
