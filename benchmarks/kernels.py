"""Portable kernels against native ones and against torch's own linear layers, in turn: `python -m benchmarks.kernels`.

Shards of a training step, forward and backward, and evaluations (default parameters, the models of `make assets`), each
kind in a process of its own, one thread. Processor seconds, which other programs disturb less than the clock does.
Hardware: x86-64 with AVX2; memory: 6 GB; time: five minutes on two cores.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence

from latentwire.environment import set_kernels

PORTABLE, NATIVE, BEFORE = "portable", "native", "native, torch's linear layers"
EXAMPLES, SHARDS = 8, 2
"""Examples that are evaluated, and shards of a step that are trained, in one pass each."""


def measure_kinds(kinds: Sequence[str], rounds: int) -> dict[str, dict[str, list[float]]]:
    """Kind → work → processor seconds of each round; the kinds take turns."""
    children = {kind: _start(kind) for kind in kinds}
    seconds: dict[str, dict[str, list[float]]] = {kind: {} for kind in kinds}
    for turn in range(rounds):
        first = turn % len(kinds)
        for kind in [*kinds[first:], *kinds[:first]]:
            for work, spent in _ask(children[kind]).items():
                seconds[kind].setdefault(work, []).append(spent)
    for child in children.values():
        child.communicate()
    return seconds


def _start(kind: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "benchmarks.kernels", "--serve", kind]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    _ask(child)  # the first round warms up
    return child


def _ask(child: subprocess.Popen[str]) -> Mapping[str, float]:
    assert child.stdin
    assert child.stdout
    child.stdin.write("go\n")
    child.stdin.flush()
    return dict(json.loads(child.stdout.readline()))


def serve(kind: str) -> None:
    """Do each work once for every line of stdin, and print its processor seconds."""
    set_kernels("portable" if kind == PORTABLE else "native")
    works = _make_works(kind)
    for _ in sys.stdin:
        print(json.dumps({name: _time(work) for name, work in works.items()}), flush=True)


def _time(work: Callable[[], object]) -> float:
    begun = time.process_time()
    work()
    return time.process_time() - begun


def _make_works(kind: str) -> dict[str, Callable[[], object]]:
    from benchmarks.trainer import default_trainer
    from latentwire.models import loading
    from latentwire.training.exact import Exact
    from latentwire.training.validation import Validation

    if kind == BEFORE:
        loading.use_onednn_linear = lambda _: None
    trainer = default_trainer(kind == PORTABLE)
    exact = Exact(trainer)
    validation = Validation(trainer.method, trainer.receivers, trainer.data, EXAMPLES, EXAMPLES)
    return {"training": lambda: exact.compute_shards(1, range(SHARDS)), "evaluation": validation}


def main() -> int:
    """Print times and ratios."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kernels", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="of each kind (%(default)s)")
    parser.add_argument("--serve", choices=(PORTABLE, NATIVE, BEFORE), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve)
        return 0
    seconds = measure_kinds((PORTABLE, NATIVE, BEFORE), options.rounds)
    for work in seconds[PORTABLE]:
        print(f"{work}: {statistics.median(seconds[PORTABLE][work]):.2f} s with portable kernels")
        for other in (NATIVE, BEFORE):
            ratios = [a / b for a, b in zip(seconds[PORTABLE][work], seconds[other][work], strict=True)]
            print(f"  {statistics.median(ratios):.2f} of {other} ({min(ratios):.2f} to {max(ratios):.2f})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
