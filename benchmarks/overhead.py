"""Everything on against a bare loop of the same steps: `python -m benchmarks.overhead` (`make bench-overhead`).

Everything: the journal, a save each ten steps beside the loop, MLflow with the machine's metrics, the thread that reads
the machine, and a process that writes the dashboard. The steps are those of `make bench-elastic` on one process. Each
side is a process, which is frozen with all its threads and children while the other one has its turn. Ratios; exit
code 3: the goal is missed. Hardware: any; time: 13 minutes on two cores that do nothing else.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import torch

from benchmarks.elastic import Contestant, Step, exact
from latentwire import status
from latentwire.dashboard.command import write_dashboard
from latentwire.item import TrainItem
from latentwire.params.load import load_params
from latentwire.tracking.mirror import MlflowMirror
from latentwire.tracking.runs import TrackedItem
from unbroken.exact.group import SOLO
from unbroken.preemption import StopFlag
from unbroken.run import Run
from unbroken.run_folder.identity import Identity

ROOT = Path(__file__).resolve().parents[1]
GOAL = 1.02
BARE, EVERYTHING, PAGE = "bare", "everything", "page"
IDENTITY = Identity({"benchmark": "overhead"})
EVERY = 10
PAGE_S = 10.0


class Side:
    """One of the two processes, frozen unless it has its turn."""

    def __init__(self, kind: str, root: Path, steps: int) -> None:
        command = [
            sys.executable,
            "-m",
            "benchmarks.overhead",
            "--as",
            kind,
            "--root",
            str(root),
            "--steps",
            str(steps),
        ]
        self._child = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        self._read()
        self._signal(signal.SIGSTOP)

    def take_turn(self) -> tuple[float, float]:
        """Do a block of steps; its seconds on the clock, and processor seconds of the training process."""
        self._signal(signal.SIGCONT)
        assert self._child.stdin
        self._child.stdin.write("go\n")
        self._child.stdin.flush()
        wall, cpu = self._read()
        self._signal(signal.SIGSTOP)
        return wall, cpu

    def end(self) -> None:
        """End it with all that it started."""
        self._signal(signal.SIGKILL)
        self._child.communicate()

    def _read(self) -> tuple[float, float]:
        assert self._child.stdout
        wall, cpu = json.loads(self._child.stdout.readline())
        return wall, cpu

    def _signal(self, number: signal.Signals) -> None:
        os.killpg(self._child.pid, number)


def compare(root: Path, steps: int, rounds: int) -> list[tuple[float, float]]:
    """Ratios of each round, everything to bare: of the clock, and of processor seconds."""
    sides = {kind: Side(kind, root, steps) for kind in (BARE, EVERYTHING)}
    ratios = []
    try:
        for turn in range(rounds + 1):
            order = sorted(sides, reverse=bool(turn % 2))
            seconds = {kind: sides[kind].take_turn() for kind in order}
            (wall, cpu), (bare_wall, bare_cpu) = seconds[EVERYTHING], seconds[BARE]
            ratios.append((wall / bare_wall, cpu / bare_cpu))
    finally:
        for side in sides.values():
            side.end()
    return ratios[1:]  # the first one warms up


def serve(kind: str, root: Path, steps: int) -> None:
    """Do a block of steps for every line of stdin, and print what it took; a first block of one step warms up."""
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    with _everything(root) if kind == EVERYTHING else nullcontext(_bare()) as step:
        numbers = iter(range(1, 10**9))
        print(json.dumps(_time(step, numbers, 1)), flush=True)
        for _ in sys.stdin:
            print(json.dumps(_time(step, numbers, steps)), flush=True)


def _time(step: Step, numbers: Iterator[int], count: int) -> tuple[float, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(count):
        step(next(numbers))
    return time.perf_counter() - wall, time.process_time() - cpu


def _bare() -> Step:
    fold_one = exact(Contestant(torch.device("cpu")), SOLO, torch.device("cpu"))
    return lambda number: float(fold_one(number))  # type: ignore[arg-type]


@contextmanager
def _everything(root: Path) -> Iterator[Step]:
    """The same steps as a training of this project does them."""
    who = Contestant(torch.device("cpu"))
    item = _item(root)
    mirror = MlflowMirror(item, experiment="overhead", root=root)
    folder = root / "state" / f"{item.name}-{IDENTITY.short}"
    page = [sys.executable, "-m", "benchmarks.overhead", "--as", PAGE, "--root", str(root)]
    os.chdir(root)
    with (
        Run(
            folder,
            identity=IDENTITY,
            state={"model": who.model.trained, "optimizer": who.optimizer},
            stop=StopFlag.install(),
            every=EVERY,
            observers=[mirror],
        ) as run,
        subprocess.Popen(page, env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])}),
    ):
        steps, fold_one = run.steps(10**9), exact(who, SOLO, torch.device("cpu"))

        def one(number: int) -> None:
            assert next(steps) == number
            run.log(**{"train/loss": float(fold_one(number))})  # type: ignore[arg-type]

        yield one


def _item(root: Path) -> TrackedItem:
    return TrackedItem(TrainItem.all(load_params(root / "params.yaml"))[0].name, IDENTITY.digest)


def write_pages(root: Path) -> None:
    """Write the dashboard of that run, which is of no identity that the parameters have."""
    status.items_by_identity = lambda *_: {IDENTITY.short: _item(root).name}
    write_dashboard(root, None, root / "dashboard.html", once=False, seconds=PAGE_S)


def show(ratios: list[tuple[float, float]], steps: int) -> bool:
    """Print medians and spreads; whether the goal is met."""
    print(f"{len(ratios)} rounds of {steps} steps, load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    for name, values in zip(("time", "processor seconds"), zip(*ratios, strict=True), strict=True):
        low, middle, high = statistics.quantiles(values, n=4) if len(values) > 1 else (values[0],) * 3
        print(f"  {name}: everything / bare {middle:.3f} [middle half {low:.3f} to {high:.3f}]")
    met = statistics.median(wall for wall, _ in ratios) <= GOAL
    print(f"goal <= {GOAL:.2f} of the time: {'met' if met else 'not met'}")
    return met


def main() -> int:
    """Print the comparison."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.overhead", description=__doc__)
    parser.add_argument("--steps", type=int, default=20, help="of a block (%(default)s)")
    parser.add_argument("--rounds", type=int, default=9, help="blocks of each side (%(default)s)")
    parser.add_argument("--as", dest="kind", choices=(BARE, EVERYTHING, PAGE), help=argparse.SUPPRESS)
    parser.add_argument("--root", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.kind:
        write_pages(options.root) if options.kind == PAGE else serve(options.kind, options.root, options.steps)
        return 0
    # Both sides have sessions of their own, and one of them is frozen: nobody else would end them.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        shutil.copy(ROOT / "params.yaml", folder)
        ratios = compare(Path(folder), options.steps, options.rounds)
        pages = (Path(folder) / "dashboard.html").is_file()
    if not pages:
        print("error: no dashboard was written, so it was not measured. Next: more --steps.", file=sys.stderr)
        return 1
    return 0 if show(ratios, options.steps) else 3


if __name__ == "__main__":
    sys.exit(main())
