"""Exit 0: one digest for all schedules. 3: not. 4: the control, plain data parallelism, was not told apart."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tests.elastic.running import HEADER, Digests, carry_out, row
from tests.elastic.schedules import SCHEDULES, Schedule, steady
from tests.support import workspace
from tests.support.workspace import Workspace

STEPS = 24
CONTROLS = (1, 2, 4)


def main() -> int:
    """Train all schedules in a temporary folder and print the table."""
    argparse.ArgumentParser(prog="python -m tests.elastic", description=__doc__).parse_args()
    with tempfile.TemporaryDirectory(prefix="latentwire-elastic-") as folder:
        prepared = prepare(Path(folder))
        exact = table("train.mode exact", SCHEDULES, prepared, Path(folder) / "exact")
        prepared.set(train__mode="throughput")
        plain = table("train.mode throughput", [steady(count) for count in CONTROLS], prepared, Path(folder) / "plain")
    if len(exact) > 1:
        print(f"NOT identical: {len(SCHEDULES)} schedules gave {len(exact)} different results")
        return 3
    if len(plain) == 1:
        print("could not be verified: plain data parallelism gave one result too, so this harness sees no difference")
        return 4
    print(f"identical: {len(SCHEDULES)} schedules gave one result; the control gave {len(plain)} of {len(CONTROLS)}")
    return 0


def prepare(folder: Path) -> Workspace:
    """Data and features of the tiny task."""
    made = workspace.make(folder / "prepared", train__steps=STEPS)
    made.stage("prepare")
    made.stage("encode", "--task", "tiny")
    return made


def table(title: str, schedules: tuple[Schedule, ...] | list[Schedule], place: Workspace, root: Path) -> set[Digests]:
    """Carry all out, print a line for each, and return the different results."""
    print(f"{title}\n{HEADER}", flush=True)
    root.mkdir()
    found = set()
    for number, schedule in enumerate(schedules):
        result = carry_out(schedule, place, root / str(number))
        found.add(result)
        print(row(schedule.name, result), flush=True)
    return found


if __name__ == "__main__":
    sys.exit(main())
