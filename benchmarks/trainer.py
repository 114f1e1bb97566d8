"""What saving costs the real trainer: `python -m benchmarks.trainer`. Blocks of steps with and without saves, in turn.

The train stage's own loop and state (default parameters, the models of `make assets`), one thread; a save each ten
steps, in the loop and beside it. Ratios. Hardware: any; time: a quarter of an hour on two cores.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from benchmarks.checkpoint import new_writer
from latentwire.errors import LatentWireError
from latentwire.item import TrainItem
from latentwire.models.build import configure_torch
from latentwire.params.load import load_params
from latentwire.training.assemble import assemble_trainer, make_gradients
from latentwire.training.loop import Trainer, train_method
from unbroken.checkpoint.state import capture_state
from unbroken.checkpoint.writer import SaveRequest, SaveResult, Writer

EVERY = 10
NOWHERE, INSIDE, BESIDE = "nowhere", "in the loop", "beside the loop"


class Blocks:
    """In the place of a `Run`: gives the loop its steps in blocks, with the saves of one writer or with none."""

    def __init__(self, writers: Mapping[str, Writer], size: int, rounds: int) -> None:
        self._writers: dict[str, Writer | None] = {NOWHERE: None, **writers}
        self._size, self._rounds = size, rounds
        self.state: dict[str, object] = {}
        self.lost: dict[str, list[float]] = {name: [] for name in writers}
        """Share of the throughput that saving costs, of each round; the noise of the machine is in it."""
        self.busy: dict[str, list[float]] = {name: [] for name in writers}
        """Share of a block in which something of a save was going on: it cannot cost more."""

    def steps(self, total: int) -> Iterator[int]:  # noqa: ARG002 (stands in for Run.steps)
        """Steps 1, 2, …; a block without saves warms up and does not count."""
        starts, kinds = itertools.count(1, self._size), list(self._writers)
        yield from self._block(next(starts), None)
        for turn in range(self._rounds):
            seconds: dict[str, float] = {}
            first = turn % len(kinds)
            for kind in kinds[first:] + kinds[:first]:
                begun = time.perf_counter()
                outcomes = yield from self._block(next(starts), self._writers[kind])
                seconds[kind] = time.perf_counter() - begun
                if kind != NOWHERE:
                    self.busy[kind].append(sum(duration(one, kind) for one in outcomes) / seconds[kind])
            for kind, lost in self.lost.items():
                lost.append(seconds[kind] / seconds[NOWHERE] - 1.0)

    def _block(self, first: int, writer: Writer | None) -> Generator[int, None, list[SaveResult]]:
        for step in range(first, first + self._size):
            yield step
            if writer and step % EVERY == 0:
                begun = time.monotonic()
                live = capture_state(self.state, copy=False)  # type: ignore[arg-type]  # holders, as of a Run
                writer.submit(SaveRequest(step, None, False), live, begun)
        return writer.drain() if writer else []  # what a save leaves to the thread counts too

    def log(self, **values: float) -> None:
        """No journal: all kinds of blocks would have it."""


def duration(result: SaveResult, kind: str) -> float:
    """Seconds from the start of a save, in the loop, to its end there or in the thread. Raises what it failed with."""
    if result.error:
        raise result.error
    return result.blocked + (result.seconds if kind == BESIDE else 0.0)  # in the loop it waits for the writing too


def measure(trainer: Trainer, size: int, rounds: int) -> Blocks:
    """Train in blocks."""
    with tempfile.TemporaryDirectory() as folder:
        writers = {name: new_writer(Path(folder) / name, name == BESIDE) for name in (INSIDE, BESIDE)}
        blocks, optimizer = Blocks(writers, size, rounds), trainer.make_optimizer()
        schedule = trainer.make_schedule(optimizer)
        blocks.state = {"wire": trainer.method, "optimizer": optimizer, "schedule": schedule}
        train_method(trainer, make_gradients(trainer), blocks, optimizer, schedule, lambda **_values: None)  # type: ignore[arg-type]
        for writer in writers.values():
            writer.close()
    return blocks


def default_trainer(portable: bool = True) -> Trainer:
    """The first item of params.yaml, never validated. Raises LatentWireError where models or prepared data lack."""
    values = load_params()
    numerics = "portable" if portable else "native"
    configure_torch(values.runtime.model_copy(update={"numerics": numerics}), threads=1)
    item = TrainItem.of(values, values.train.methods[0], values.prepare.tasks[0], values.train.seeds[0])
    return replace(assemble_trainer(values, item), validate=dict)


def main(make: Callable[[], Trainer] = default_trainer) -> int:
    """Print the comparison; exit code 1 where models or data are missing."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.trainer", description=__doc__)
    parser.add_argument("--steps", type=int, default=EVERY, help="steps of a block (%(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="blocks of each kind (%(default)s)")
    options = parser.parse_args()
    try:
        trainer = make()
    except (LatentWireError, OSError) as error:
        print(f"{error}\nNext: `make setup`, then `dvc repro encode`.", file=sys.stderr)
        return 1
    blocks = measure(trainer, options.steps, options.rounds)
    print(f"a save each {EVERY} steps, {options.rounds} rounds of blocks of {options.steps} steps:")
    for name, lost in blocks.lost.items():
        print(
            f"  {name:<16} busy with it for {statistics.median(blocks.busy[name]):.3%} of the time;"
            f" {statistics.median(lost):+.2%} of throughput lost ({min(lost):+.2%} to {max(lost):+.2%})"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
