"""What saving costs the real trainer: `python -m benchmarks.trainer`. Blocks of steps with and without saves, in turn.

The train stage's own loop and state (default parameters, the models of `make assets`), one thread; a save each ten
steps, in the loop and in the background. Ratios, medians. Hardware: any; time: some minutes on two cores.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from latentwire import params
from latentwire.errors import LatentWireError
from latentwire.models.build import settle_runtime
from latentwire.training.assemble import assemble, gradients_of
from latentwire.training.item import TrainItem
from latentwire.training.loop import Trainer, train
from unbroken.checkpoint import CheckpointStore
from unbroken.state import Snapshot, capture
from unbroken.writer import Order, Writer

IDENTITY = "a" * 64
EVERY = 10


class Blocks:
    """In the place of a `Run`: gives the loop its steps in blocks, and saves in every other one."""

    def __init__(self, writer: Writer, size: int, pairs: int) -> None:
        self._writer, self._size, self._pairs = writer, size, pairs
        self.state: dict[str, object] = {}
        self.lost: list[float] = []
        """Share of the throughput that saving costs, of each pair of blocks."""

    def steps(self, total: int) -> Iterator[int]:
        """Steps 1, 2, …; the first pair warms up and does not count."""
        step = 0
        for pair in range(self._pairs + 1):
            seconds = {}
            for saving in (pair % 2 == 0, pair % 2 == 1):
                begun = time.perf_counter()
                for _ in range(self._size):
                    step += 1
                    yield step
                    if saving and step % EVERY == 0:
                        live = capture(self.state, copy=False)  # type: ignore[arg-type]  # holders, as of a Run
                        self._writer.submit(Order(step, b"", False), live, time.monotonic())
                self._writer.finish()  # what a save leaves to the thread counts for the block that began it
                seconds[saving] = time.perf_counter() - begun
            self.lost.append(seconds[True] / seconds[False] - 1.0)
        del self.lost[0]

    def log(self, **values: float) -> None:
        """No journal: both kinds of blocks would have it."""


def lost(trainer: Trainer, background: bool, size: int, pairs: int) -> float:
    """Median share of the throughput that a save each `EVERY` steps costs."""
    with tempfile.TemporaryDirectory() as folder:
        store = CheckpointStore(Path(folder), keep=1, report=lambda sentence: None)

        def save(order: Order, snapshot: Snapshot) -> Path:
            return store.save(order.step, snapshot, IDENTITY, order.journal, order.pinned, order.verify)

        writer = Writer(save, background)
        blocks, optimizer = Blocks(writer, size, pairs), trainer.optimizer()
        schedule = trainer.schedule(optimizer)
        blocks.state = {"wire": trainer.wire, "optimizer": optimizer, "schedule": schedule}
        train(trainer, gradients_of(trainer), blocks, optimizer, schedule, lambda **values: None)  # type: ignore[arg-type]
        writer.close()
    return statistics.median(blocks.lost)


def default_trainer() -> Trainer:
    """The first item of params.yaml, never validated. Raises LatentWireError where models or prepared data lack."""
    values = params.load()
    train_values = values.train
    rare = train_values.validate_.model_copy(update={"every": 10**9})
    values = values.model_copy(update={"train": train_values.model_copy(update={"validate_": rare})})
    settle_runtime(values.runtime, threads=1)
    item = TrainItem.of(values, train_values.methods[0], values.prepare.tasks[0], train_values.seeds[0])
    return assemble(values, item)


def main(make: Callable[[], Trainer] = default_trainer) -> int:
    """Print the comparison; exit code 1 where models or data are missing."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.trainer", description=__doc__)
    parser.add_argument("--steps", type=int, default=2 * EVERY, help="steps of a block (%(default)s)")
    parser.add_argument("--pairs", type=int, default=5, help="blocks with and without saves (%(default)s)")
    options = parser.parse_args()
    try:
        trainer = make()
    except (LatentWireError, OSError) as error:
        print(f"{error}\nTo go on: `make setup`, then `dvc repro encode`.", file=sys.stderr)
        return 1
    for background in (False, True):
        share = lost(trainer, background, options.steps, options.pairs)
        print(f"a save each {EVERY} steps {'beside' if background else 'in'} the loop: {share:.2%} of throughput lost")
    return 0


if __name__ == "__main__":
    sys.exit(main())
