"""The numeric core on this machine and on emulated processors; the digests of all that it computes must be the same.

Exit 0: one digest for all processors. 3: not. 4: could not be verified, because the control, native kernels, was not
told apart, or qemu is not here.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.machines.core import MODULES
from tests.machines.processors import EMULATED, HERE, Processor, find_emulator
from tests.machines.running import Outcome, format_header, format_row, prepare_core, refuse_without_avx2, run_core
from tests.support import workspace
from tests.support.workspace import Workspace

AT_ONCE = 2
"""Processes at a time; CI has as many cores."""
CONTROL = 2
"""Emulated processors at most that compute with native kernels. MKL chooses those by vendor, and the first emulated one
has another vendor than this machine."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the core on all processors in a temporary folder and print the tables."""
    parser = argparse.ArgumentParser(prog="python -m tests.machines", description=__doc__)
    parser.add_argument("--model", action="append", default=[], help="one more model of `qemu-x86_64 -cpu help`")
    parser.add_argument("--first", type=int, default=len(EMULATED), help="how many of the emulated (%(default)s)")
    parser.add_argument("--sample", action="store_true", help="some of the calls of each operation, not all")
    chosen = parser.parse_args(argv)
    modules = ["sample", "pipeline"] if chosen.sample else MODULES
    others = [Processor(model, model) for model in chosen.model]
    if find_emulator() is None:
        print("could not be verified: no qemu-x86_64 of version 8 or later. Next: tests/machines/install.sh")
        return 4
    with tempfile.TemporaryDirectory(prefix="latentwire-machines-") as name:
        prepared = prepare_core(Path(name) / "prepared")
        portable = run_table("portable", [HERE, *EMULATED[: chosen.first], *others], prepared, Path(name), modules)
        control = [HERE, *EMULATED[: max(1, min(chosen.first, CONTROL))]]
        native = run_table("native", control, prepared, Path(name), ["control"])
        print(f"without AVX2: {refuse_without_avx2(prepared, Path(name) / 'refused')}")
    return judge(portable, native)


def run_table(
    numerics: str, processors: Sequence[Processor], prepared: Workspace, root: Path, modules: Sequence[str]
) -> list[Outcome]:
    """Run the core on all of them, print a line for each, and return what they gave."""
    print(f"runtime.numerics {numerics}\n{format_header(modules)}", flush=True)
    places = [
        workspace.copy(prepared, root / f"{numerics}-{number}", runtime__numerics=numerics)
        for number in range(len(processors))
    ]
    outcomes = []
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for outcome in pool.map(lambda processor, place: run_core(processor, place, modules), processors, places):
            print(format_row(outcome), flush=True)
            outcomes.append(outcome)
    return outcomes


def judge(portable: Sequence[Outcome], native: Sequence[Outcome]) -> int:
    """Say which parts differ, if any, and return the exit code."""
    first = portable[0]
    differing = [part for part in first.digests if len({outcome.digests[part] for outcome in portable}) > 1]
    if differing:
        print(f"NOT identical: {', '.join(differing)} differ between {len(portable)} processors")
        return 3
    control = {outcome.whole for outcome in native}
    if len(control) == 1:
        print("could not be verified: native kernels gave one result too, so this harness sees no difference")
        return 4
    print(f"identical: {len(portable)} processors gave one result, SHA-256 {first.whole}")
    print(f"the control, native kernels, gave {len(control)} results on {len(native)} processors")
    return 0


if __name__ == "__main__":
    sys.exit(main())
