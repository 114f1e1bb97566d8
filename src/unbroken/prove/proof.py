"""Prove that a training survives interruptions, on the user's own program: `python -m unbroken prove -- COMMAND`.

The program runs once undisturbed and once interrupted, in fresh processes; states are compared tensor by tensor
after every step, and the metric history with them; every other file that the program wrote into its folder is
compared at the end. Negative controls drop one part of the state on purpose: if
that goes unnoticed, a real fault might too, and the result is "could not be verified".
"""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from unbroken.checkpoint.state import RNG
from unbroken.errors import UnbrokenError
from unbroken.preemption import EXIT_PREEMPTED
from unbroken.prove.beside import LostObject, find_lost_objects
from unbroken.prove.certificate import Certificate, ControlResult, ProofLog
from unbroken.prove.controls import choose_control_steps, find_changed_steps
from unbroken.prove.drill import Interruption
from unbroken.prove.outputs import compare_outputs
from unbroken.prove.runs import (
    Difference,
    Launcher,
    Program,
    RunEvidence,
    compare_runs,
    compare_traces,
    last_log_line,
    name_status,
)

_MOST_NAMES = 5
_DAY_S = 86400.0
_KILLED = (-9,)
_KILLED_BY_LAUNCHER = (-9, 137, 1)  # what launchers end with when one of their processes was killed


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
    ignored: Sequence[str] = ()
    """Patterns of files, relative to the folder of the run, that may differ, such as `log-*`."""
    rank: int | None = None
    """For a command that starts several processes: the one that is interrupted. The others have to end with it."""
    limit_s: float | None = None
    """Seconds that one start may take; None: a day for the undisturbed run, a minute and five times it for others."""
    launch: Launcher | None = None
    """How a process is started; None: by `run_logged`, which holds it to the limit."""


class _UnverifiedError(Exception):
    """There is no answer; the message says why."""


class _BrokenError(Exception):
    """The interrupted program could not go on, which is a difference in itself."""

    def __init__(self, difference: Difference) -> None:
        super().__init__()
        self.difference = difference


def run_proof(plan: ProofPlan, report: Callable[[str], None]) -> Certificate:
    """Run everything and return the certificate; `report` is told what is going on.

    Raises:
        UnbrokenError: The working folder of the plan is not empty.
    """
    if plan.work.exists() and any(plan.work.iterdir()):
        raise UnbrokenError(f"{plan.work} is not empty. Next: name a new folder.")
    plan.work.mkdir(parents=True, exist_ok=True)
    return _Proof(plan, report).run()


class _Proof:
    def __init__(self, plan: ProofPlan, report: Callable[[str], None]) -> None:
        self._plan, self._report = plan, report
        self._program = Program(plan.command, plan.every, plan.launch, plan.rank)
        self._limit_s = plan.limit_s or _DAY_S
        self._log = ProofLog(command=list(plan.command), sabotage=plan.sabotage, ignored=plan.ignored)

    def run(self) -> Certificate:
        try:
            reference = self._run_reference()
            self._log.add_reference(reference)
            difference = self._run_interrupted(reference)
            if difference is None and self._plan.sabotage is None:
                self._check_beside()
                self._run_controls(reference)
        except _BrokenError as broken:
            difference = broken.difference
        except (_UnverifiedError, UnbrokenError, OSError, ValueError, KeyError) as error:
            return self._log.certify_unverified(str(error))
        return self._log.certify_difference(difference) if difference else self._verdict()

    def _verdict(self) -> Certificate:
        if self._plan.sabotage is not None:
            return self._log.certify_unverified(
                f"{self._plan.sabotage} was dropped at every resume and the bytes are the same all the same."
            )
        crashes = [f"{control.part} was dropped and {control.crash}" for control in self._log.controls if control.crash]
        if crashes:
            return self._log.certify_unverified(f"a negative control came to no end: {crashes[0]}")
        silent = [control.part for control in self._log.controls if control.has_failed]
        if silent or not any(control.was_noticed for control in self._log.controls):
            return self._log.certify_unverified(_describe_silence(silent))
        return self._log.certify_identical()

    def _run_reference(self) -> RunEvidence:
        self._report("the undisturbed run")
        folder = self._plan.work / "reference"
        begun = time.monotonic()
        self._check_status(self._start(folder), (0,), "the undisturbed run")
        if self._plan.limit_s is None:
            self._limit_s = 60 + 5 * (time.monotonic() - begun)
        return self._read_finished(folder, "the undisturbed run")

    def _start(self, folder: Path, **faults: str | None) -> int:
        return self._program.start(folder, limit_s=self._limit_s, **faults)

    def _read_finished(self, folder: Path, what: str) -> RunEvidence:
        evidence = RunEvidence(folder)
        if evidence.final is None or not evidence.trace:
            raise _UnverifiedError(f"{what} ended without a final checkpoint of unbroken")
        return evidence

    def _run_interrupted(self, reference: RunEvidence) -> Difference | None:
        folder = self._plan.work / "interrupted"
        for interruption in self._plan.interruptions or choose_interruptions(
            reference.step, self._plan.count, self._plan.seed
        ):
            self._report(f"interrupted by {interruption}")
            self._interrupt(folder, interruption)
        self._report("to the end")
        status = self._start(folder, sabotage=self._plan.sabotage)
        if status != 0:
            self._check_unsabotaged(status)
            raise _BrokenError(self._failed_resume(folder, status))
        evidence = self._read_finished(folder, "the interrupted run")
        self._log.add_interrupted(evidence)
        self._log.beside = self._find_lost_objects(reference, evidence)
        return compare_runs(reference, evidence) or self._compare_outputs(folder)

    def _find_lost_objects(self, reference: RunEvidence, evidence: RunEvidence) -> list[LostObject]:
        tree = evidence.newest.manifest.tree
        parts = {RNG, *tree} if isinstance(tree, dict) else {RNG}
        words = [word for word in self._plan.stateless if word not in parts]
        self._log.is_census_cut = any(line["is_cut"] for line in [*reference.censuses, *evidence.censuses])
        lost = find_lost_objects(reference.censuses, evidence.censuses)
        return [each.declare(words, parts) for each in lost if not each.is_part_of_state(parts)]

    def _check_beside(self) -> None:
        failed = [lost for lost in self._log.beside if lost.has_failed]
        if failed:
            names = ", ".join(f"{lost.path} ({lost.kind}, at {lost.places[0]})" for lost in failed[:_MOST_NAMES])
            more = f" and {len(failed) - _MOST_NAMES} more" if len(failed) > _MOST_NAMES else ""
            raise _UnverifiedError(
                f"not in the state, and not the same at the end after interruptions: {names}{more}. Next: "
                f"{failed[0].advise()}"
            )

    def _compare_outputs(self, folder: Path) -> Difference | None:
        self._log.files, places = compare_outputs(self._plan.work / "reference", folder, self._plan.ignored)
        return Difference(None, places) if places else None

    def _interrupt(self, folder: Path, interruption: Interruption) -> None:
        status = self._start(folder, interrupt=str(interruption), sabotage=self._plan.sabotage)
        self._log.interruptions.append(f"{interruption} ({name_status(status)})")
        killed = _KILLED if self._plan.rank is None else _KILLED_BY_LAUNCHER
        expected = killed if interruption.signal == "KILL" else (75,)
        if status == 0:
            raise _UnverifiedError(self._explain_success(folder, interruption))
        if status not in expected:
            if len(self._log.interruptions) > 1:
                self._check_unsabotaged(status)
                raise _BrokenError(
                    Difference(self._last_step(folder), [f"the program failed: {last_log_line(folder.parent)}"])
                )
            self._check_status(status, expected, f"the run that was to be interrupted by {interruption}")

    def _explain_success(self, folder: Path, interruption: Interruption) -> str:
        try:
            is_finished = RunEvidence(folder).final is not None
        except (UnbrokenError, OSError, ValueError):
            is_finished = False
        if is_finished:
            return f"the program ended before {interruption} could reach it"
        return (
            f"the program was interrupted by {interruption} and ended with exit 0 all the same, so that its caller "
            "takes the run for finished. Next: let the exit code through, in a pipe with `set -o pipefail`"
        )

    def _check_unsabotaged(self, status: int) -> None:
        # A crash may have any reason: it does not show that the loss of the part was seen.
        if self._plan.sabotage is not None:
            raise _UnverifiedError(f"{self._plan.sabotage} was dropped and {self._describe_crash(status)}")

    def _describe_crash(self, status: int) -> str:
        return f"the program failed ({name_status(status)}); its last lines were: {last_log_line(self._plan.work, 3)}"

    def _failed_resume(self, folder: Path, status: int) -> Difference:
        failed = f"the program failed when it was to go on ({name_status(status)}): {last_log_line(folder.parent)}"
        return Difference(self._last_step(folder), [failed])

    def _last_step(self, folder: Path) -> int:
        try:
            return RunEvidence(folder).step + 1
        except (UnbrokenError, OSError, ValueError):
            return 1

    def _run_controls(self, reference: RunEvidence) -> None:
        changed = find_changed_steps(reference)
        for part in changed if self._plan.controls is None else self._plan.controls:
            steps = choose_control_steps(reference.step, changed.get(part))
            self._log.controls.append(self._find_control(part, steps, reference))

    def _find_control(self, part: str, steps: Sequence[int], reference: RunEvidence) -> ControlResult:
        for step in steps:
            control = self._run_control(self._stop_for_controls(step), part, reference)
            if not control.has_failed:
                break
        return control

    def _stop_for_controls(self, step: int) -> Path:
        folder = self._plan.work / f"control-{step}"
        if not folder.exists():
            self._report(f"negative controls, from step {step}")
            self._check_status(self._start(folder, interrupt=f"TERM@{step}"), (75,), "the run for the controls")
        return folder

    def _run_control(self, base: Path, part: str, reference: RunEvidence) -> ControlResult:
        folder = base.with_name(f"{base.name}-{part}")
        shutil.copytree(base, folder)
        control = self._drop_part(folder, part, reference)
        self._report(f"without {part}: {control.describe()}")
        return control

    def _drop_part(self, folder: Path, part: str, reference: RunEvidence) -> ControlResult:
        status, stateless = self._start(folder, sabotage=part), part in self._plan.stateless
        if status not in (0, EXIT_PREEMPTED):
            return ControlResult(part, None, stateless, self._describe_crash(status))
        evidence = RunEvidence(folder)
        # A stopped run has fewer steps, which is no difference: its trace alone counts.
        compare = compare_runs if status == 0 else compare_traces
        return ControlResult(part, compare(reference, evidence), stateless)

    def _check_status(self, status: int, expected: Sequence[int], what: str) -> None:
        if status not in expected:
            raise _UnverifiedError(
                f"{what} ended with {name_status(status)}, expected {' or '.join(map(name_status, expected))}; its "
                f"last line was: {last_log_line(self._plan.work)}"
            )


def _describe_silence(parts: Sequence[str]) -> str:
    if not parts:
        return "the negative control did not make a difference: no part of the state changes"
    return (
        f"the negative control did not make a difference: {', '.join(parts)}. Next: if nothing that follows depends on "
        f"what is dropped, declare that with --stateless {','.join(parts)}"
    )


def choose_interruptions(total: int, count: int, seed: int) -> list[Interruption]:
    """`count` steps, ascending, one in each part of the run, by TERM and KILL in all phases of a step.

    The last one is a TERM before the last step: what is lost of anything that happened until then shows in that step
    or in what is held at the end. With four or more, a TERM at a start and a KILL at a resume are added.
    """
    steps = _spread_steps(total, count, random.Random(seed))
    kinds = [("TERM", "step"), ("KILL", "step"), ("KILL", "save"), ("TERM", "end")]
    chosen = [Interruption(kinds[index % 4][0], step, kinds[index % 4][1]) for index, step in enumerate(steps)]
    if chosen and chosen[-1].signal == "KILL":
        chosen[-1] = Interruption("TERM", steps[-1])
    if len(chosen) >= len(kinds):
        # After the first TERM, so that there is a checkpoint to resume from.
        chosen[1:1] = [Interruption("TERM", None, "start"), Interruption("KILL", None, "resume")]
    return chosen


def _spread_steps(total: int, count: int, generator: random.Random) -> list[int]:
    last = total - 1
    if last < 1:
        return []
    others = min(count, last) - 1
    bounds = [1 + index * (last - 1) // others for index in range(others + 1)] if others > 0 else []
    return [generator.randrange(*between) for between in pairwise(bounds)] + [last]
