"""What a checkpoint costs: `python -m benchmarks.checkpoint --sizes 10,200,1000`. Ratios, medians of the repeats.

Hardware: any; time: four minutes at 10 and 200 MB on two cores, twelve more at 1 GB; disk: ten times the largest size.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks.peers import PEERS, State, quiet
from unbroken.checkpoint.buffers import Buffer
from unbroken.checkpoint.state import Snapshot, capture_state
from unbroken.checkpoint.store import CheckpointStore
from unbroken.checkpoint.writer import SaveRequest, Writer
from unbroken.filesystem import FileSystem, remove_tree

IDENTITY = "a" * 64
TENSORS = 48
SETTLE_S = 2.0
RAW_CHUNK = 1 << 24


def new_state(megabytes: int) -> State:
    """As of a model with Adam: a third weights, the rest moments."""
    count = megabytes * 250_000 // TENSORS
    return {f"tensor/{index:02d}": torch.randn(count) for index in range(TENSORS)}


def median(action: Callable[[int], float], repeats: int) -> float:
    """Median seconds of the calls after a first one that warms up."""
    action(0)
    return statistics.median(action(index) for index in range(1, repeats + 1))


def seconds(action: Callable[[], object]) -> float:
    """Wall time of one call."""
    begun = time.perf_counter()
    action()
    return time.perf_counter() - begun


def new_writer(folder: Path, background: bool) -> Writer:
    """A writer as a run has one, with a store in `folder`."""
    store = CheckpointStore(folder, keep=1, report=lambda _sentence: None)

    def save(request: SaveRequest, snapshot: Snapshot) -> Path:
        return store.save(request.step, snapshot, IDENTITY)

    return Writer(save, background)


class Ours:
    """The background writer as a run uses it."""

    def __init__(self, state: State, folder: Path) -> None:
        self.state, self.durable = state, list[float]()
        self.writer = new_writer(folder, background=True)

    def blocked(self, index: int) -> float:
        """Seconds that the loop waits; as with the peers, the save before it has ended."""
        self.durable += [result.seconds for result in self.writer.drain()]
        begun = time.monotonic()
        live = capture_state({"state": self.state}, copy=False)
        self.writer.submit(SaveRequest(index + 1, None, False), live, begun)
        return time.monotonic() - begun


def memcpy(state: State) -> Callable[[int], float]:
    """One copy of the state into memory that is already there."""
    target = {name: torch.zeros_like(tensor) for name, tensor in state.items()}
    return lambda _index: seconds(lambda: [target[name].copy_(tensor) for name, tensor in state.items()])


def raw_write(state: State, folder: Path, name: str = "raw") -> Callable[[int], float]:
    """Sequential write and fsync of the same bytes, and nothing else."""
    data = memoryview(b"".join(tensor.numpy().tobytes() for tensor in state.values()))

    def once(path: Path) -> None:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT)
        done = 0
        while done < len(data):
            done += os.write(descriptor, data[done : done + RAW_CHUNK])
        os.fsync(descriptor)
        os.close(descriptor)

    def write(index: int) -> float:
        path = folder / name.format(index)
        path.unlink(missing_ok=True)
        return seconds(lambda: once(path))

    return write


def committed(state: State, folder: Path) -> Callable[[int], float]:
    """Our write until it is durable under its name, without the reading back that follows."""
    store = CheckpointStore(folder, keep=1, report=lambda _sentence: None)
    snapshot = Buffer().fill(capture_state({"state": state}, copy=False))

    def save(index: int) -> float:
        taken = seconds(lambda: store.save(index + 1, snapshot, IDENTITY, verify=False))
        remove_tree(FileSystem(), store.path(index + 1))
        return taken

    return save


def every_step(state: State, folder: Path, step_s: float) -> float:
    """Share of the throughput that is lost when every step is saved; a step computes for `step_s`."""
    ours = Ours(state, folder)
    matrix = torch.randn(256, 256)
    once = median(lambda _index: seconds(lambda: [matrix @ matrix for _ in range(50)]), 5)
    work = range(max(1, round(50 * step_s / once)))

    def steps(save: bool) -> float:
        begun = time.perf_counter()
        for index in range(5):
            for _ in work:
                matrix @ matrix
            if save:
                live = capture_state({"state": state}, copy=False)
                ours.writer.submit(SaveRequest(index + 1, None, False), live, time.monotonic())
        return time.perf_counter() - begun

    pairs = []
    for _ in range(6):
        pairs.append((steps(True), ours.writer.drain() and steps(False)))
    ours.writer.close()
    return statistics.median(saving / plain for saving, plain in pairs[1:]) - 1.0  # type: ignore[operator]


STEP_S = 0.02
PROGRAM = f"""
from unbroken.preemption import Preempted, StopFlag
stop = StopFlag.install()
import os, sys, time
from pathlib import Path
import torch
from unbroken import Identity, Run
state = {{"s": {{str(i): torch.randn(int(sys.argv[2]) * 250_000 // 48) for i in range(48)}}}}
try:
    with Run(Path(sys.argv[1]), identity=Identity({{}}), state=state, stop=stop, every=10**9) as run:
        for step in run.steps(10**9):
            print(time.time(), flush=True)
            time.sleep({STEP_S})
except Preempted as left:
    os._exit(left.code)  # as the stages of latentwire: the shutdown of an interpreter with torch saves nothing
"""


def stop_and_start(state: State, megabytes: int, folder: Path, repeats: int) -> tuple[float, float]:
    """SIGTERM to exit as a multiple of the goal; seconds from the start of a process to its first new step."""
    command = [sys.executable, "-c", PROGRAM, str(folder), str(megabytes)]
    # New files: as in a new process, no page of the cache is used again.
    raw = raw_write(state, folder.parent, "raw-{}")
    ratios, starts = [], []
    for index in range(repeats):
        goal = 2 * STEP_S + raw(index) + 0.05
        begun = time.time()
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
            assert process.stdout is not None
            starts.append(float(process.stdout.readline()) - begun)
            time.sleep(0.1)
            process.send_signal(signal.SIGTERM)
            ratios.append(seconds(process.wait) / goal)
    return statistics.median(ratios), statistics.median(starts)


def compare(megabytes: int, repeats: int, work: Path) -> None:
    """All figures for one size."""
    state = new_state(megabytes)
    ours, copying = Ours(state, work / "ours"), memcpy(state)
    pairs = []
    for index in range(2 * repeats + 3):
        # In turn: who comes second finds a small state in the processor's cache.
        before = copying(index) if index % 2 else None
        blocked = ours.blocked(index)
        ours.writer.drain()  # or the copy would be compared with one on a busy machine
        pairs.append((blocked, before or copying(index)))
    pairs = pairs[3:]  # the first ones warm up
    mine = statistics.median(blocked for blocked, _ in pairs)
    ratio = statistics.median(blocked / copy for blocked, copy in pairs)
    ours.writer.close()
    print(f"\n{megabytes} MB: the loop is blocked for {ratio:.2f} x one memcpy of the state")
    for name, make in PEERS.items():
        folder = work / name.replace(" ", "-")
        folder.mkdir()
        with quiet():
            save = make(state, folder)
            blocked = median(save, repeats) if save else None
            time.sleep(SETTLE_S)  # a peer that still writes would slow the next one down
        print(f"  {name:<28} " + (f"{blocked / mine:8.1f} x ours" if blocked else "not installed: skipped"), flush=True)
        shutil.rmtree(folder, ignore_errors=True)
    writing, saving = raw_write(state, work), committed(state, work / "store")
    turns = [(writing(index), saving(index)) for index in range(repeats + 1)][1:]  # in turn: a disk has its moods
    share = statistics.median(one / two for one, two in turns)
    print(f"  write speed                  {share:8.0%} of a raw write + fsync")
    step_s = 0.005 * megabytes  # what a training step of a model of this size takes at least on these cores
    lost = every_step(state, work / "steps", step_s)
    print(f"  saving every step of {step_s:4.2f} s  {lost:8.1%} throughput lost")
    left, first = stop_and_start(state, megabytes, work / "stop", repeats)
    print(f"  SIGTERM to exit              {left:8.2f} x (2 steps + raw write + 50 ms)")
    print(f"  start to first new step      {first:8.1f} s, the import of torch with it", flush=True)


def main() -> None:
    """Print the comparison."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.checkpoint", description=__doc__)
    parser.add_argument("--sizes", default="10,200", help="MB of state (%(default)s)")
    parser.add_argument("--repeats", type=int, default=5, help="(%(default)s)")
    parser.add_argument("--folder", type=Path, help="on the disk to be measured; default: a temporary folder")
    options = parser.parse_args()
    print(f"torch {torch.__version__}, {os.cpu_count()} cores, {options.repeats} repeats, medians")
    torch.set_num_threads(1)  # on both sides: a machine that is not idle delays one of two threads at random
    for size in map(int, options.sizes.split(",")):
        with tempfile.TemporaryDirectory(dir=options.folder, ignore_cleanup_errors=True) as work:
            compare(size, options.repeats, Path(work))


if __name__ == "__main__":
    main()
