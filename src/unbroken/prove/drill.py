"""What `prove` asks of a run through its environment: interruptions at exact places, traces, sabotage.

None of it is active in ordinary use, and none of it changes a result unless sabotage was asked for.
"""

from __future__ import annotations

import gc
import json
import os
import re
import signal
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from unbroken import environment
from unbroken.checkpoint.state import RNG, Holder, capture_state, compare_states
from unbroken.errors import UnbrokenError
from unbroken.exact.randomness import lose_streams
from unbroken.prove.census import take_census

TRACE_FILE = "trace.jsonl"
CENSUS_FILE = "census.jsonl"
SIGNALS = ("TERM", "INT", "USR1", "USR2", "KILL")
PHASES = ("start", "resume", "step", "end", "save")
"""Before anything; state restored; before the step's work; after it; while its checkpoint is written."""

_SPEC = re.compile(rf"({'|'.join(SIGNALS)})@(\d*)(?::({'|'.join(PHASES)}))?")
_LARGEST_ON_THE_WAY = 64 << 20
"""Bytes of a tensor that is digested at the end alone."""
_CURSORS = re.compile(r"cursor|data|loader|sampler|order")


@dataclass(frozen=True)
class Interruption:
    """A signal that a run sends to itself. `step` is None in phases that belong to no step."""

    signal: str
    step: int | None
    phase: str = "step"

    @staticmethod
    def parse(text: str) -> Interruption:
        """From `TERM@5`, `KILL@9:save`, `KILL@:resume`.

        Raises:
            UnbrokenError: The text is no interruption.
        """
        match = _SPEC.fullmatch(text)
        interruption = (
            Interruption(match[1], int(match[2]) if match[2] else None, match[3] or "step") if match else None
        )
        if interruption is None or (interruption.step is None) != (interruption.phase in ("start", "resume")):
            raise UnbrokenError(
                f"{text!r} is no interruption, expected SIGNAL@STEP or SIGNAL@STEP:PHASE such as TERM@5, KILL@9:save "
                f"or KILL@:resume; signals are {', '.join(SIGNALS)}, phases {', '.join(PHASES)}."
            )
        return interruption

    def __str__(self) -> str:
        step = "" if self.step is None else self.step
        return f"{self.signal}@{step}" + ("" if self.phase == "step" else f":{self.phase}")


class FaultInjector:
    """What one run does to itself because `prove` asked for it; every method does nothing otherwise."""

    def __init__(self, folder: Path, rank: int = 0) -> None:
        """Read the request from the environment.

        Raises:
            UnbrokenError: The interruption is not understood, or `folder` is not where `prove` wants the run.
        """
        _check_proof_folder(folder)
        asked = environment.read_fault_variables()
        text, every = asked.get(environment.INTERRUPT), asked.get(environment.EVERY)
        is_target = asked.get(environment.INTERRUPT_RANK, "0") == str(rank)
        self._interruption = Interruption.parse(text) if text and is_target else None
        self._trace = folder / TRACE_FILE if environment.TRACE in asked and rank == 0 else None
        self._sabotage = asked.get(environment.SABOTAGE)
        self.every = int(every) if every else None
        self._begun: int | None = None
        self._ended: int | None = None
        self._state: Mapping[str, Holder] | None = None

    @property
    def traces(self) -> bool:
        """Does `trace_state` read the state?"""
        return self._trace is not None

    def is_due(self, phase: str, step: int | None = None) -> bool:
        """Is the interruption due here?"""
        due = self._interruption
        return due is not None and (due.phase, due.step) == (phase, step)

    def fire(self, phase: str, step: int | None = None) -> None:
        """Send the signal if it is due here."""
        if self._interruption and self.is_due(phase, step):
            os.kill(os.getpid(), signal.Signals[f"SIG{self._interruption.signal}"])

    def dropped_parts(self, state: Mapping[str, Holder]) -> set[str]:
        """The parts of the state that are not to be restored.

        Raises:
            UnbrokenError: The state has no such part.
        """
        if not self._sabotage:
            return set()
        parts = {name for name, holder in state.items() if _matches_part(self._sabotage, name, holder)}
        if self._sabotage == RNG:
            parts = {RNG}
            lose_streams()
        if not parts:
            raise UnbrokenError(
                f"Nothing in the state is {self._sabotage!r}; it has {', '.join(sorted(state))} and rng."
            )
        return parts

    def trace_state(self, step: int, state: Mapping[str, Holder], metrics: Mapping[str, object]) -> None:
        """Append the digests of the state after a step, and what changes merely by being read."""
        if self._trace is None:
            return
        first, second = capture_state(state, copy=False), capture_state(state, copy=False)
        digests = first.digests()
        line = {
            "step": step,
            "tensors": digests,
            "tree": first.tree,
            "metrics": {key: repr(value) for key, value in metrics.items()},
            "unstable": compare_states(first.tree, digests, second.tree, second.digests()),
        }
        _append_line(self._trace, line)
        self._begun, self._state = step - 1 if self._begun is None else self._begun, state
        if step & (step - 1) == 0:
            self._write_census(step, state, _LARGEST_ON_THE_WAY)

    def trace_end(self, step: int) -> None:
        """Look at all that the program holds beside the state when the loop ends after this step."""
        if self._state is not None and self._ended != step:
            self._ended = step
            gc.collect()
            self._write_census(step, self._state)

    def _write_census(self, step: int, state: Mapping[str, Holder], largest: float = float("inf")) -> None:
        if self._trace is not None:
            census = take_census(state, list(capture_state(state, copy=False).tensors.values()), largest)
            line = {"begun": self._begun, "step": step, "final": step == self._ended, **asdict(census)}
            _append_line(self._trace.with_name(CENSUS_FILE), line)


def _append_line(path: Path, line: Mapping[str, object]) -> None:
    with path.open("ab") as file:
        file.write(json.dumps(line).encode() + b"\n")


def _check_proof_folder(folder: Path) -> None:
    # Else a drill would train, interrupt and rotate the run that the user has worked on for days.
    asked = environment.read_proof_folder()
    if asked and not folder.resolve().is_relative_to(asked.resolve()):
        raise UnbrokenError(
            f"`prove` wants the run in {asked}, but the program opens the one in {folder.resolve()}. That one was not "
            f"touched. Next: let the program take its folder from ${environment.FOLDER} or from its arguments."
        )


def _matches_part(part: str, name: str, holder: Holder) -> bool:
    if part == name:
        return True
    if part == "optimizer":
        return isinstance(holder, torch.optim.Optimizer)
    if part == "schedule":
        return isinstance(holder, torch.optim.lr_scheduler.LRScheduler)
    return part == "cursor" and _CURSORS.search(name.lower()) is not None
