"""Programs that run in forks of the test's own process: what it has imported, they need not import again."""

from __future__ import annotations

import os
import runpy
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.support.forks import start_as_program


def run_forked(command: Sequence[str], variables: Mapping[str, str], log: Path) -> int:
    """A launcher for `unbroken.prove`: `python FILE …` with these variables, and its output in the log.

    Returns:
        Its exit status, a signal's number negated.
    """

    def program() -> None:
        sys.stdout = sys.stderr = os.fdopen(os.dup(2), "w", buffering=1)
        sys.argv = list(command[1:])
        runpy.run_path(command[1], run_name="__main__")

    return start_as_program(variables, log, program)
