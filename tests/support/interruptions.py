"""Trainings that are interrupted in this process, and what is left of them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.support.forked_programs import run_forked
from unbroken.preemption import Preempted, StopFlag
from unbroken.prove.certificate import Certificate
from unbroken.prove.drill import Interruption
from unbroken.prove.proof import ProofPlan, run_proof
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


def prove_program(
    program: str, work: Path, at: Iterable[str], controls: Sequence[str] = (), fault: str = ""
) -> Certificate:
    """Interrupt a program of `tests/support/loops`, which runs in forks, and compare with an undisturbed run."""
    command = [sys.executable, str(Path(__file__).parent / "loops" / program), "{folder}", *filter(None, [fault])]
    struck = [Interruption.parse(text) for text in at]
    plan = ProofPlan(command=command, work=work / "proof", interruptions=struck, controls=controls, launch=run_forked)
    return run_proof(plan, lambda _sentence: None)


def read_result(folder: Path) -> dict[str, bytes]:
    """The final checkpoint and the metrics."""
    final = max((folder / "checkpoints").glob("step-*"))
    return {path.name: path.read_bytes() for path in (*sorted(final.iterdir()), folder / JOURNAL_FILE)}
