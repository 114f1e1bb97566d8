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


def check_every_step(train: Train, work: Path, **options: Any) -> None:
    """Interrupted in each of its steps, a training ends in the bytes of one that nothing disturbs."""
    finish_training(train, work / "whole", **options)
    whole = read_result(work / "whole")
    interrupt_training(train, work / "cut", range(1, whole[JOURNAL_FILE].count(b"\n")), **options)
    assert read_result(work / "cut") == whole


def finish_training(train: Train, folder: Path, **options: Any) -> None:
    """Let it train to its end."""
    train(folder, StopFlag(), lambda _step: None, **options)


def prove_program(
    program: str,
    work: Path,
    at: Iterable[str] = ("TERM@4", "KILL@5:save", "KILL@:resume"),
    controls: Sequence[str] = (),
    fault: str = "",
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


def train_on_two_ranks(loop: str, work: Path, options: str = "") -> subprocess.CompletedProcess[str]:
    """Call `train` of a module of `tests/support/loops` in two processes of torchrun, for the folder `work/work`.

    `options`: more arguments, as they are written in a call.
    """
    (work / "program.py").write_text(
        "from unbroken.preemption import StopFlag\nstop = StopFlag.install()\nfrom pathlib import Path\n"
        f"from tests.support.loops.{loop} import train\n"
        f"train(Path('work'), stop, lambda _step: None, {options})\n"
    )
    meeting = f"127.0.0.1:{find_free_port('127.0.0.1')}"
    launch = ["--nproc-per-node=2", "--rdzv-backend=c10d", f"--rdzv-endpoint={meeting}", "program.py"]
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": f"{root / 'src'}:{root}", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "torch.distributed.run", *launch]
    return subprocess.run(command, env=environment, cwd=work, capture_output=True, text=True, timeout=300)
