"""Many trials, each one fault and the unattended recovery from it, and the table of what came of them."""

from __future__ import annotations

import os
import random
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from tests.chaos.faults import KINDS
from tests.chaos.trial import PATIENCE, Disk, Trial, say_start_over
from tests.support import toy_training
from unbroken import environment


@dataclass(frozen=True)
class Result:
    """What became of one trial: `recovered`, `diverged`, `used damaged data`, `stuck` or `misbehaved`."""

    kind: str
    outcome: str
    detail: str = ""


def run_trial(kind: str, seed: str, folder: Path, expected: dict[str, bytes]) -> Result:
    """Do the harm of one kind, then start until the run is finished, and compare every byte."""
    trial = Trial(folder, random.Random(seed))
    try:
        forbidden = KINDS[kind](trial)
        # The next start looks at the newest checkpoints first: none that was harmed may be the one it goes on from.
        status = trial.start(files=Disk())
        if status == 1 and not trial.steps() - forbidden:
            status = _start_over(trial)
        if forbidden and trial.begun_from() in forbidden:
            return Result(kind, "used damaged data", f"went on from step {trial.begun_from()}")
        for _ in range(PATIENCE):
            if status == 0:
                break
            status = trial.start(files=Disk())
    except AssertionError as error:
        return Result(kind, "misbehaved", str(error))
    if status != 0:
        return Result(kind, "stuck", f"status {status}: {trial.log.read_text()[-300:]}")
    if toy_training.contents(trial.target) != expected:
        return Result(kind, "diverged")
    return Result(kind, "recovered")


def _start_over(trial: Trial) -> int:
    """Nothing is whole: the start that was refused has changed nothing, and the user has to say what now."""
    before = trial.content()
    assert trial.start(files=Disk()) == 1, "a run without a whole checkpoint started afresh by itself"
    assert trial.content() == before, "a start that was refused changed the run"
    assert environment.START_OVER in trial.log.read_text(), "the refusal does not say what to do"
    return trial.start(files=Disk(), prepare=say_start_over)


def run_campaign(n: int, seed: int, work: Path, kinds: list[str], tell: Callable[[int, Result], None]) -> list[Result]:
    """`n` trials, the kinds in turn. Folders of trials that did not recover are kept in `work`."""
    torch.set_num_threads(1)
    reference = work / "reference"
    toy_training.train(reference / "run", reference / "export")
    expected = toy_training.contents(reference / "export")
    results = []
    for index in range(n):
        folder = work / f"trial-{index}"
        results.append(run_trial(kinds[index % len(kinds)], f"{seed}/{index}", folder, expected))
        tell(index, results[-1])
        if results[-1].outcome == "recovered":
            shutil.rmtree(folder)
    return results


def format_campaign(results: list[Result], seed: int) -> str:
    """One row for each kind, and what must be zero."""
    counts = Counter((result.kind, result.outcome) for result in results)
    kinds = [kind for kind in KINDS if any(result.kind == kind for result in results)]
    bad = ("diverged", "used damaged data", "stuck", "misbehaved")
    width = max(map(len, kinds))
    lines = [f"{'fault':<{width}}  {'N':>5}  recovered  " + "  ".join(bad)]
    for kind in [*kinds, "all"]:
        cells = {
            outcome: sum(counts[one, outcome] for one in (kinds if kind == "all" else [kind]))
            for outcome in ("recovered", *bad)
        }
        row = "  ".join(f"{cells[name]:>{len(name)}}" for name in bad)
        lines.append(f"{kind:<{width}}  {sum(cells.values()):>5}  {cells['recovered']:>9}  {row}")
    return "\n".join([*lines, f"seed {seed}, {os.uname().sysname} {os.uname().release}, torch {torch.__version__}"])
