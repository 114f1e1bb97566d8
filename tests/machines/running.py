"""The core in a folder of its own on a processor, and what it printed."""

from __future__ import annotations

import hashlib
import json
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.machines.cpuid import Seen
from tests.machines.processors import IVY_BRIDGE, Processor
from tests.support import workspace
from tests.support.workspace import ROOT, Workspace

SECONDS = 3600
"""Longest life of one core: emulated, and on a machine that does other things."""
REPLAYED = ("operations",)
COMPUTED = (*REPLAYED, "encode", "train", "evaluate", "baseline", "aggregate", "figures")
"""The parts of the core, as `tests.machines.pipeline` and `tests.machines.replay` name them."""
REFUSAL = "is no x86-64 processor with AVX2"


@dataclass(frozen=True)
class Outcome:
    """What the core gave on a processor."""

    processor: Processor
    seen: Seen
    digests: Mapping[str, str]
    """Part → SHA-256 of what it wrote."""
    seconds: float
    """From the start of the process to its end, imports and emulation included."""

    @property
    def whole(self) -> str:
        """One digest of all parts."""
        lines = [f"{part} {digest}\n" for part, digest in self.digests.items()]
        return hashlib.sha256("".join(lines).encode()).hexdigest()


def prepare_core(folder: Path) -> Workspace:
    """A workspace with data of the tiny task and the tiny models, all that the core reads."""
    made = workspace.make(
        folder,
        runtime__threads=2,
        prepare__limits={"train": 24, "validation": 8, "test": 12},
        encode__batch=8,
        train__steps=2,
        train__warmup=1,
        train__batch=4,
        train__shards=2,
        train__validate={"every": 2, "examples": 8},
        evaluate__batch=8,
        evaluate__samples={"examples": 2, "tokens": 2},
        aggregate__resamples=1000,
    )
    made.stage("prepare")
    return made


def run_core(processor: Processor, place: Workspace, modules: Sequence[str] = ()) -> Outcome:
    """Run the core in a prepared workspace, the modules that are named or all.

    Raises:
        RuntimeError: The core failed; the message has the end of what it printed.
    """
    begun = time.monotonic()
    done = run_python(processor, place, "-m", "tests.machines.core", *modules)
    if done.returncode != 0:
        raise RuntimeError(f"the core on {processor.name} ended with {done.returncode}:\n{done.stderr[-2000:]}")
    first, *lines = map(json.loads, done.stdout.splitlines())
    digests = {line["part"]: line["digest"] for line in lines}
    return Outcome(processor, Seen(**first), digests, time.monotonic() - begun)


def run_python(processor: Processor, place: Workspace, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python on a processor to its end, with this checkout's code."""
    return subprocess.run(
        processor.command(*arguments),
        cwd=place.root,
        env={**place.environment, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


def refuse_without_avx2(prepared: Workspace, folder: Path) -> str:
    """What a stage says on a processor that has no AVX2.

    Raises:
        RuntimeError: It did not refuse.
    """
    (folder / "proc").mkdir(parents=True)
    (folder / "proc/cpuinfo").write_text("flags\t\t: fpu sse sse2 ssse3 sse4_1 sse4_2 avx f16c\n", encoding="utf-8")
    processor = Processor("Intel Ivy Bridge", IVY_BRIDGE, folder)
    done = run_python(processor, prepared, "-m", "latentwire.stages.encode", "--task", "tiny")
    if done.returncode != 2 or REFUSAL not in done.stderr:
        raise RuntimeError(f"portable was not refused on {processor.name}, exit {done.returncode}:\n{done.stderr}")
    return next(line for line in done.stderr.splitlines() if REFUSAL in line)


def format_header(modules: Sequence[str]) -> str:
    """The line above the rows."""
    parts = COMPUTED if "pipeline" in modules else REPLAYED
    named = "  ".join(f"{part:<10}" for part in parts)
    return f"{'processor':<16}  {'vendor':<12}  {'vectors':<7}  {'caches, KiB':<16}  {'seconds':>7}  {named}"


def format_row(outcome: Outcome) -> str:
    """A line of the table."""
    seen = outcome.seen
    short = "  ".join(f"{digest[:10]:<10}" for digest in outcome.digests.values())
    about = f"{outcome.processor.name:<16}  {seen.vendor:<12}  {seen.isa:<7}  {seen.caches:<16}"
    return f"{about}  {outcome.seconds:>7.0f}  {short}"
