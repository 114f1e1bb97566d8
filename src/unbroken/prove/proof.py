"""Prove that a training survives interruptions, on the user's own program: `python -m unbroken prove -- COMMAND`.

The program runs once undisturbed and once interrupted, in fresh processes; states are compared tensor by tensor
after every step, and the metric history with them. Negative controls drop one part of the state on purpose: if
that goes unnoticed, so might a real fault, and the result is "could not be verified".
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from unbroken.checkpoint.state import compare_states, state_part
from unbroken.errors import UnbrokenError
from unbroken.prove.certificate import Certificate, Control, ProofLog
from unbroken.prove.drill import Interruption
from unbroken.prove.runs import (
    Difference,
    Launcher,
    Program,
    RunEvidence,
    compare_runs,
    last_log_line,
    name_status,
    run_logged,
)

EXPECTED = (75, -9)
_KILLED = (-9,)
_KILLED_BELOW = (-9, 137, 1)  # what launchers end with when one of their processes was killed


@dataclass(frozen=True, kw_only=True)
class ProofPlan:
    """What is to be proved, and how hard."""

    command: Sequence[str]
    """The user's program; `{folder}` in it is replaced by the folder that the run shall live in."""
    work: Path
    """An empty or new folder for the runs and their logs."""
    interruptions: Sequence[Interruption] = ()
    """Where to interrupt, steps ascending; empty: `count` random ones."""
    count: int = 4
    """Random interruptions."""
    seed: int = 0
    """Of the random choice."""
    every: int | None = 2
    """Steps between checkpoints in all runs; None leaves it to the program."""
    sabotage: str | None = None
    """Drop this part of the state on every resume: the result must then be a difference."""
    controls: Sequence[str] | None = None
    """Parts for the negative controls; None: every part of the state that changes during the run."""
    stateless: Sequence[str] = ()
    """Parts that the program declares to be without effect on what follows, such as an rng seeded every step."""
    rank: int | None = None
    """For a command that starts several processes: the one that is interrupted. The others have to end with it."""
    launch: Launcher = run_logged
    """How a process is started."""


class _UnverifiedError(Exception):
    """Why there is no answer."""


class _BrokenError(Exception):
    """The interrupted program could not go on: a difference in itself."""

    def __init__(self, difference: Difference) -> None:
        super().__init__()
        self.difference = difference


def run_proof(plan: ProofPlan, report: Callable[[str], None]) -> Certificate:
    """Run everything and return the certificate; `report` is told what is going on.

    Raises UnbrokenError for a plan that makes no sense.
    """
    if plan.work.exists() and any(plan.work.iterdir()):
        raise UnbrokenError(f"{plan.work} is not empty. Next: name a new folder.")
    plan.work.mkdir(parents=True, exist_ok=True)
    return _Proof(plan, report).run()


class _Proof:
    def __init__(self, plan: ProofPlan, report: Callable[[str], None]) -> None:
        self._plan, self._report = plan, report
        self._program = Program(plan.command, plan.every, plan.launch, plan.rank)
        self._facts = ProofLog(command=list(plan.command), sabotage=plan.sabotage)

    def run(self) -> Certificate:
        try:
            reference = self._reference()
            self._facts.reference(reference)
            found = self._interrupted(reference)
            if found is None and self._plan.sabotage is None:
                self._controls(reference)
        except _BrokenError as broken:
            found = broken.difference
        except (_UnverifiedError, UnbrokenError, OSError, ValueError, KeyError) as error:
            return self._facts.unverified(str(error))
        return self._facts.differs(found) if found else self._verdict()

    def _verdict(self) -> Certificate:
        if self._plan.sabotage is not None:
            return self._facts.unverified(
                f"{self._plan.sabotage} was dropped at every resume and the bytes are the same all the same."
            )
        silent = [control.part for control in self._facts.controls if control.failed]
        if silent or not any(control.noticed for control in self._facts.controls):
            return self._facts.unverified(
                f"the negative control did not make a difference: {', '.join(silent) or 'no part of the state changes'}"
            )
        return self._facts.identical()

    def _reference(self) -> RunEvidence:
        self._report("the undisturbed run")
        folder = self._plan.work / "reference"
        self._expect(self._program.start(folder), (0,), "the undisturbed run")
        return self._finished(folder, "the undisturbed run")

    def _finished(self, folder: Path, what: str) -> RunEvidence:
        evidence = RunEvidence(folder)
        if evidence.final is None or not evidence.trace:
            raise _UnverifiedError(f"{what} ended without a final checkpoint of unbroken")
        return evidence

    def _interrupted(self, reference: RunEvidence) -> Difference | None:
        folder = self._plan.work / "interrupted"
        for interruption in self._plan.interruptions or choose_interruptions(
            reference.step, self._plan.count, self._plan.seed
        ):
            self._report(f"interrupted by {interruption}")
            self._interrupt(folder, interruption)
        self._report("to the end")
        status = self._program.start(folder, sabotage=self._plan.sabotage)
        if status != 0:
            raise _BrokenError(self._stuck(folder, reference, status))
        evidence = self._finished(folder, "the interrupted run")
        self._facts.interrupted(evidence)
        return compare_runs(reference, evidence)

    def _interrupt(self, folder: Path, interruption: Interruption) -> None:
        status = self._program.start(folder, interrupt=str(interruption), sabotage=self._plan.sabotage)
        self._facts.interruptions.append(f"{interruption} ({name_status(status)})")
        killed = _KILLED if self._plan.rank is None else _KILLED_BELOW
        expected = killed if interruption.signal == "KILL" else (75,)
        if status == 0:
            raise _UnverifiedError(f"the program ended before {interruption} could reach it")
        if status not in expected:
            if len(self._facts.interruptions) > 1:
                raise _BrokenError(
                    Difference(self._last_step(folder), [f"the program failed: {last_log_line(folder.parent)}"])
                )
            self._expect(status, expected, f"the run that was to be interrupted by {interruption}")

    def _stuck(self, folder: Path, reference: RunEvidence, status: int) -> Difference:
        failed = f"the program failed when it was to go on ({name_status(status)}): {last_log_line(folder.parent)}"
        return Difference(self._last_step(folder), [failed])

    def _last_step(self, folder: Path) -> int:
        try:
            return RunEvidence(folder).step + 1
        except (UnbrokenError, OSError, ValueError):
            return 1

    def _controls(self, reference: RunEvidence) -> None:
        base = self._plan.work / "control"
        middle = max(1, reference.step // 2)
        self._report(f"negative controls, from step {middle}")
        self._expect(self._program.start(base, interrupt=f"TERM@{middle}"), (75,), "the run for the controls")
        stopped = RunEvidence(base)
        moving = _changing_parts(stopped, reference)
        for part in moving if self._plan.controls is None else self._plan.controls:
            folder = self._plan.work / f"control-{part}"
            shutil.copytree(base, folder)
            status = self._program.start(folder, sabotage=part)
            found = (
                compare_runs(reference, RunEvidence(folder)) if status == 0 else self._stuck(folder, reference, status)
            )
            self._facts.controls.append(Control(part, found, part in self._plan.stateless))
            self._report(f"without {part}: {found.sentence() if found else 'no difference'}")

    def _expect(self, status: int, expected: Sequence[int], what: str) -> None:
        if status not in expected:
            raise _UnverifiedError(
                f"{what} ended with {name_status(status)}, expected "
                f"{' or '.join(map(name_status, expected))}; its last line was: {last_log_line(self._plan.work)}"
            )


def _changing_parts(stopped: RunEvidence, reference: RunEvidence) -> list[str]:
    """The parts of the state that differ between a step and the end: dropping a constant proves nothing."""
    one, two = stopped.newest.manifest, reference.newest.manifest
    return sorted({state_part(place) for place in compare_states(one.tree, one.digests, two.tree, two.digests)})


def choose_interruptions(total: int, count: int, seed: int) -> list[Interruption]:
    """`count` random steps, ascending, by TERM and KILL in all phases of a step; four or more are joined by a TERM at
    a start and a KILL at a resume.
    """
    steps = sorted(random.Random(seed).sample(range(1, total), min(count, total - 1)))
    kinds = [("TERM", "step"), ("KILL", "step"), ("KILL", "save"), ("TERM", "end")]
    found = [Interruption(kinds[index % 4][0], step, kinds[index % 4][1]) for index, step in enumerate(steps)]
    if len(found) >= len(kinds):
        # After the first TERM: then there is a checkpoint to resume from.
        found[1:1] = [Interruption("TERM", None, "start"), Interruption("KILL", None, "resume")]
    return found
