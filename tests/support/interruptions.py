"""Trainings that are interrupted in this process, and what is left of them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from unbroken.preemption import Preempted, StopFlag
from unbroken.run_folder.journal import JOURNAL_FILE

Train = Callable[..., None]
"""Called with the folder, a stop flag, and a function that is told the number of each step inside it."""


class KilledError(BaseException):
    """Ends the training at once: nothing that its program does after it is saved."""


def interrupt_training(train: Train, folder: Path, kind: str, steps: Iterable[int], **options: Any) -> None:
    """Start it once for each of the steps, and stop (`TERM`) or kill it (`KILL`) there; then let it end."""
    for step in steps:
        stop = StopFlag()

        def reach(number: int, step: int = step, stop: StopFlag = stop) -> None:
            if number == step and kind == "TERM":
                stop.set("SIGTERM")
            elif number == step:
                raise KilledError

        with pytest.raises(Preempted if kind == "TERM" else KilledError):
            train(folder, stop, reach, **options)
    finish_training(train, folder, **options)


def finish_training(train: Train, folder: Path, **options: Any) -> None:
    """Let it train to its end."""
    train(folder, StopFlag(), lambda _step: None, **options)


def prove_program(program: str, work: Path, *options: str, fault: str = "") -> subprocess.CompletedProcess[str]:
    """`python -m unbroken prove` on a program of `tests/support/loops`."""
    command = [sys.executable, str(Path(__file__).parent / "loops" / program), "{folder}", *filter(None, [fault])]
    prove = [sys.executable, "-m", "unbroken", "prove", "--certificate", str(work / "certificate.json"), *options]
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": f"{root / 'src'}:{root}", "OMP_NUM_THREADS": "1"}
    return subprocess.run([*prove, "--", *command], env=environment, cwd=work, capture_output=True, text=True)


def read_result(folder: Path) -> dict[str, bytes]:
    """The final checkpoint and the metrics."""
    final = max((folder / "checkpoints").glob("step-*"))
    return {path.name: path.read_bytes() for path in (*sorted(final.iterdir()), folder / JOURNAL_FILE)}
