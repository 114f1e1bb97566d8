"""The numerics of a run whose program names none: what decides the bits of torch, looked at after every step.

At the end of a step everything is as the step was computed: threads that the program sets and a GPU that it starts to
use after the run was opened count too, and a program that does the same in each start is never called a change.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import torch

from unbroken.canonical_json import JSON, encode_canonical
from unbroken.environment import processor_vendor
from unbroken.errors import ArgumentError
from unbroken.exact.group import Group
from unbroken.exact.numerics import NUMERICS_STATE, Numerics, NumericsInfo

Facts = dict[str, JSON]


def read_torch_facts() -> Facts:
    """What the bits of this process depend on by default. The GPU is named once the program uses it."""
    facts: Facts = {"torch": str(torch.__version__), "threads": torch.get_num_threads()}
    facts |= {"capability": str(torch.backends.cpu.get_cpu_capability()), "processor": _vendor()}
    in_use: Callable[[], bool] = torch.cuda.is_initialized  # asking for the name would start CUDA
    if in_use():
        facts |= {"gpu": torch.cuda.get_device_name(), "cuda": torch.version.cuda}
        facts["cudnn"] = torch.backends.cudnn.version()
    return facts


@cache
def _vendor() -> str:
    return processor_vendor()


class RunNumerics(Numerics):
    """Those that the program gives, or else the defaults; none (`{}`) keep what a checkpoint has, and add no more."""

    def __init__(self, given: NumericsInfo | None, read: Callable[[], Facts] = read_torch_facts) -> None:
        """`given`: None for the defaults, which `read` finds."""
        super().__init__(given or {})
        self._given, self._read = given, read
        self._here: Facts = {}
        self._shared: Facts = {}
        self._ranks: list[Facts] = []

    def gather(self, group: Group, shared: Facts | None = None) -> None:
        """Take in those of all processes, at the start if the program gives them; `shared`: what is so for all."""
        self._shared = shared or {}
        if self._given:
            self._info |= self._shared
        if self._given is not None:
            super().gather(group)

    def begin_segment(self, step: int) -> str | None:
        """The run goes on after `step` here; returns what differs from before. Defaults are known after a step."""
        if self._given is None or not (self._given or self.segments):
            return None
        return super().begin_segment(step)

    def look_again(self, step: int, group: Group) -> str | None:
        """The step after `step` has ended; returns what differs from before, if anything.

        All processes call it in the first step of a start; later, what changes on rank 0 counts for all.
        """
        if self._given is not None:
            return None
        before, self._here = self._here, {**self._read(), **self._shared}
        if before == self._here:
            return None
        if before:
            changes = {name: value for name, value in self._here.items() if before.get(name) != value}
            self._ranks = [{**facts, **changes} for facts in self._ranks]
        else:
            self._ranks = [json.loads(text) for text in group.all_gather_bytes(encode_canonical(self._here))]
        self._info = _join_ranks(self._ranks)
        return super().begin_segment(step)


def _join_ranks(ranks: list[Facts]) -> Facts:
    distinct = {encode_canonical(facts): facts for facts in ranks}
    return ranks[0] if len(distinct) == 1 else {"mixed": [distinct[text] for text in sorted(distinct)]}


def add_numerics(state: dict[str, Any], given: NumericsInfo | None) -> RunNumerics:
    """Make the numerics a part of the state of a run.

    Raises:
        ArgumentError: The program has a part of that name, and does not say that it wants no numerics.
    """
    numerics = RunNumerics(given)
    if NUMERICS_STATE not in state:
        state[NUMERICS_STATE] = numerics
    elif given is None or given:
        raise ArgumentError(
            f"state may not be called {NUMERICS_STATE!r}: Run keeps there what the bits depend on. Next: give it "
            "another name, or say `Run(numerics={})`, which keeps nothing there."
        )
    return numerics


def is_unwritten(part: object) -> bool:
    """Is this part of a state not in its tree: numerics of which nothing is known, as in a run of an older version?"""
    return isinstance(part, Numerics) and not part.segments


def add_unwritten(states: dict[str, Any], objects: Mapping[str, object]) -> None:
    """Give the numerics of a run what a checkpoint that has none of them means."""
    for name, part in objects.items():
        if isinstance(part, Numerics):
            states.setdefault(name, {"segments": []})
