"""Trainings that are interrupted in this process, and what is left of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.support.forked_programs import run_forked
from unbroken.launcher.local_ranks import find_free_port
from unbroken.preemption import Preempted, StopFlag
from unbroken.prove.certificate import Certificate
from unbroken.prove.drill import Interruption
from unbroken.prove.proof import ProofPlan, run_proof
from unbroken.run_folder.journal import JOURNAL_FILE
from unbroken.run_folder.verdict import VERDICT_FILE

Train = Callable[..., None]
"""Called with the folder, a stop flag, and a function that is told the number of each step inside it."""


class KilledError(BaseException):
    """Ends the training at once: nothing that its program does after it is saved."""


def interrupt_training(train: Train, folder: Path, steps: Iterable[int], **options: Any) -> None:
    """Start it once for each of the steps, and stop it in the odd and kill it in the even ones; then let it end."""
    for step in steps:
        stop, stops = StopFlag(), step % 2 == 1

        def reach(number: int, step: int = step, stop: StopFlag = stop, stops: bool = stops) -> None:
            if number == step and stops:
                stop.set("SIGTERM")
            elif number == step:
                raise KilledError

        with pytest.raises(Preempted if stops else KilledError):
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


def read_verdict(folder: Path) -> int:
    """The exit code that the last start left."""
    return int(json.loads((folder / VERDICT_FILE).read_text())["exit"])


def run_ranks(program: str, work: Path, processes: int = 2) -> subprocess.CompletedProcess[str]:
    """Run a program in so many processes of torchrun, in the folder `work`."""
    (work / "program.py").write_text(program)
    meeting = f"127.0.0.1:{find_free_port('127.0.0.1')}"
    options = [f"--nproc-per-node={processes}", "--rdzv-backend=c10d", f"--rdzv-endpoint={meeting}", "program.py"]
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": f"{root / 'src'}:{root}", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "torch.distributed.run", *options]
    return subprocess.run(command, env=environment, cwd=work, capture_output=True, text=True, timeout=300)
