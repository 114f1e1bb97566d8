"""A schedule, carried out in a copy of a prepared workspace, and the digests of what it leaves."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from dataclasses import astuple, dataclass
from pathlib import Path

from latentwire.params.methods import KINDS
from tests.elastic.schedules import Leg, Schedule
from tests.support import workspace
from tests.support.workspace import ITEM, TRAIN, Workspace

SECONDS = 300
"""Longest life of one start."""


@dataclass(frozen=True)
class Digests:
    """SHA-256 of the trained weights, of the optimizer, of the journal, and of every exported byte."""

    weights: str
    optimizer: str
    journal: str
    all: str


def carry_out(schedule: Schedule, prepared: Workspace, root: Path) -> Digests:
    """Run every leg; the exit code of each is checked."""
    place = workspace.copy(prepared, root)
    for leg in schedule.legs:
        run(place, leg, schedule.torchrun)
    return digests(place)


def run(place: Workspace, leg: Leg, torchrun: bool = False) -> str:
    """One start to its end; returns what it printed."""
    process = start(place, leg.processes, torchrun)
    if leg.signal:
        place.wait_for_step(process, leg.step, seconds=SECONDS)
        os.kill(ranks(process.pid)[-1], signal.Signals[f"SIG{leg.signal}"])
    output, _ = process.communicate(timeout=SECONDS)
    expected = {None: (0,), "TERM": (75,), "KILL": (1, -9, 137)}[leg.signal]
    assert process.returncode in expected, f"exit {process.returncode}, expected {expected}:\n{output}"
    return output


def start(place: Workspace, processes: int, torchrun: bool = False, **variables: str) -> subprocess.Popen[str]:
    """The train stage as its user starts it."""
    if not torchrun:
        return place.start_stage(*TRAIN, LATENTWIRE_PROCESSES=str(processes), **variables)
    launcher = (sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}")
    return place.start(*launcher, "-m", f"latentwire.stages.{TRAIN[0]}", *TRAIN[1:], **variables)


def ranks(parent: int) -> list[int]:
    """The training processes below a process, by age; the process itself where it trains alone."""
    found = subprocess.run(["pgrep", "-P", str(parent)], capture_output=True, text=True, check=False).stdout.split()
    return sorted(map(int, found)) or [parent]


def digests(place: Workspace) -> Digests:
    """Of the exported folder."""
    folder = place.root / "results/train" / ITEM
    tensors = json.loads((folder / "manifest.json").read_bytes())["tensors"]
    everything = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        everything.update(path.name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return Digests(
        _of(tensors, tuple(f"{kind}/" for kind in KINDS)),
        _of(tensors, ("optimizer/",)),
        hashlib.sha256((folder / "journal.jsonl").read_bytes()).hexdigest(),
        everything.hexdigest(),
    )


def _of(tensors: dict[str, dict[str, str]], prefix: tuple[str, ...]) -> str:
    lines = [f"{name} {about['sha256']}\n" for name, about in sorted(tensors.items()) if name.startswith(prefix)]
    assert lines, f"no tensor is called {prefix}*; there are {sorted(tensors)[:3]} …"
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def row(name: str, found: Digests) -> str:
    """A line of the table."""
    short = "  ".join(f"{digest[:12]:<12}" for digest in astuple(found)[:3])
    return f"{name:<28}  {short}  {found.all}"


HEADER = f"{'processes':<28}  {'weights':<12}  {'optimizer':<12}  {'journal':<12}  all that is exported (SHA-256)"
