"""What a run costs as its history grows: folder, save, step, resume and memory, for a state of 16 bytes.

Each length is measured in a process of its own.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from unbroken import Identity, Run
from unbroken.preemption import StopFlag
from unbroken.run_folder.events import read_events

SAVES = 10


def train_and_resume(steps: int, metrics: int, folder: Path) -> str:
    """Train so many steps, resume once, and say in a line what it cost."""
    names = {f"metric/{index}": index / 7 for index in range(metrics)}
    spent = _enter(folder, steps, names)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    events = read_events(folder / "events.jsonl")
    saves = [1e3 * float(event["seconds"]) for event in events if event["event"] == "checkpoint"]
    resumed = _enter(folder, steps, {})
    costs = f"{saves[0]:>10.2f}  {saves[-1]:>9.2f}  {1e6 * spent / steps:>7.1f}  {resumed:>8.3f}"
    return f"{steps:>9}  {size / 1e6:>9.1f}  {costs}  {peak:>7}"


def _enter(folder: Path, steps: int, metrics: dict[str, float]) -> float:
    begun = time.perf_counter()
    state = {"weights": {"w": torch.zeros(4)}}
    options = {"every": max(1, steps // SAVES), "background": False}
    with Run(folder, identity=Identity({}), state=state, stop=StopFlag(), report=lambda _: None, **options) as run:  # type: ignore[arg-type]
        for _ in run.steps(steps):
            run.log(**metrics)
    return time.perf_counter() - begun


def main() -> None:
    """A row for each number of steps."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", default="1000,10000,100000", help="numbers of steps")
    parser.add_argument("--metrics", type=int, default=5, help="numbers that are logged in each step")
    parser.add_argument("--one", action="store_true", help="measure in this process")
    options = parser.parse_args()
    if options.one:
        with tempfile.TemporaryDirectory() as folder:
            print(train_and_resume(int(options.steps), options.metrics, Path(folder) / "run"))
        return
    print("    steps  folder MB  first save  last save  us/step  resume s  peak MB   (saves in ms)", flush=True)
    for steps in options.steps.split(","):
        one = ["--steps", steps, "--metrics", str(options.metrics), "--one"]
        subprocess.run([sys.executable, "-m", "benchmarks.growth", *one], check=True)


if __name__ == "__main__":
    main()
