"""Positions of the state that a loader's workers move in copies, or ahead of the steps: such a loop is refused."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset, Sampler

from tests.unit.unbroken.test_step_loop import open_run
from unbroken.errors import UnbrokenError
from unbroken.integrations.replayed_loader import ReplayedLoader
from unbroken.preemption import shield_worker
from unbroken.run import Run

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create")  # more workers than cores
LENGTH = 20
WORKERS: dict[str, Any] = {"num_workers": 1, "worker_init_fn": shield_worker}


class Numbers(IterableDataset[int]):
    """Its position is its state; so are `at` and `order` themselves."""

    def __init__(self) -> None:
        self.at = {"position": 0}
        self.order = torch.Generator()

    def __iter__(self) -> Iterator[int]:
        while self.at["position"] < LENGTH:
            self.at["position"] += 1
            self.order.manual_seed(self.at["position"])
            yield self.at["position"]

    def state_dict(self) -> dict[str, int]:
        return dict(self.at)

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.at.update(state)


class Doubled(IterableDataset[int]):
    """A stream made of another one."""

    def __init__(self, inner: Numbers) -> None:
        self.parts = [inner]

    def __iter__(self) -> Iterator[int]:
        return (2 * number for number in self.parts[0])


class InTurn(Sampler[int]):
    """Gives its position as a state, which moves as it is drawn, or as the loop says."""

    def __init__(self, moves: bool) -> None:
        self.at, self._moves = 0, moves

    def __iter__(self) -> Iterator[int]:
        for index in range(self.at, LENGTH):
            self.at += self._moves
            yield index

    def state_dict(self) -> dict[str, int]:
        return {"at": self.at}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.at = state["at"]


class Pairs(Sampler[list[int]]):
    def __init__(self, inner: InTurn) -> None:
        self.inner = inner

    def __iter__(self) -> Iterator[list[int]]:
        indices = iter(self.inner)
        return ([first, second] for first, second in zip(indices, indices, strict=False))


Loop = Callable[[Run, Any], Iterator[int]]


def loop_over_batches(run: Run, loader: Any) -> Iterator[int]:
    for step, _ in run.batches(loader, 6):
        yield step


def loop_by_hand(run: Run, loader: Any) -> Iterator[int]:
    for _, _ in zip(range(6), loader, strict=False):
        yield run.begin_step()
        run.end_step()


def loop_over_steps(run: Run, loader: Any) -> Iterator[int]:
    batches = iter(loader)
    for step in run.steps(6):
        next(batches)
        yield step


def loop_over_epochs(run: Run, loader: Any) -> Iterator[int]:
    for epoch in run.epochs(2, 3):
        for step, _ in zip(epoch.steps(), loader, strict=False):
            yield step


def loop_over_epoch_batches(run: Run, loader: Any) -> Iterator[int]:
    for epoch in run.epochs(2, 3):
        for step, _ in epoch.batches(loader):
            yield step


LOOPS = [loop_over_batches, loop_by_hand, loop_over_steps, loop_over_epochs]


def train(folder: Path, loop: Loop, loader: Any, each: Callable[[int], object] = str, **options: Any) -> int:
    with open_run(folder, **options) as run:
        for step in loop(run, loader):
            each(step)
    return run.step


def load(data: Dataset[int], **options: Any) -> DataLoader[int]:
    return DataLoader(data, batch_size=None, **{**WORKERS, **options})


@pytest.mark.parametrize("loop", LOOPS)
def test_a_stream_that_stands_still_while_workers_read_it_is_refused(loop: Loop, tmp_path: Path) -> None:
    data = Numbers()
    refused = pytest.raises(UnbrokenError, match=r"reads a stream with `data` of the state.*Next: num_workers=0; or")
    with refused:
        train(tmp_path, loop, load(data), state={"data": data})
    assert Run.peek(tmp_path).step == 0


@pytest.mark.parametrize("part", ["at", "order"])
def test_so_is_what_it_is_made_of(part: str, tmp_path: Path) -> None:
    data = Numbers()
    with pytest.raises(UnbrokenError, match=f"with `{part}` of the state"):
        train(tmp_path, loop_over_steps, load(data, persistent_workers=True), state={part: vars(data)[part]})


def test_so_is_one_inside_another(tmp_path: Path) -> None:
    data = Numbers()
    with pytest.raises(UnbrokenError, match="with `data` of the state"):
        train(tmp_path, loop_over_batches, load(Doubled(data)), state={}, per_rank={"data": data})


@pytest.mark.parametrize("workers", [0, 1])
def test_a_position_that_moves_in_this_process_is_none_of_the_workers(workers: int, tmp_path: Path) -> None:
    data = Numbers()
    tell: Callable[[int], object] = (lambda step: data.at.update(position=step)) if workers else str
    assert train(tmp_path, loop_over_batches, load(data, num_workers=workers), tell, state={"data": data}) == 6


def test_workers_of_an_evaluation_read_other_data(tmp_path: Path) -> None:
    data, other = Numbers(), load(Numbers(), persistent_workers=True)
    assert train(tmp_path, loop_by_hand, range(9), lambda _: next(iter(other)), state={"data": data}) == 6


def test_a_loader_that_is_drawn_again_has_no_position(tmp_path: Path) -> None:
    gc.collect()  # loaders of the tests before
    for name, loop, wrap in (("epochs", loop_over_epoch_batches, list), ("trainer", loop_by_hand, ReplayedLoader)):
        data = Numbers()
        loader = load(data)
        assert train(tmp_path / name, loop, loader if wrap is list else wrap(loader), state={"data": data}) == 6


def test_a_loader_of_the_state_knows_where_its_workers_are(tmp_path: Path) -> None:
    class Stateful(DataLoader[int]):
        def state_dict(self) -> dict[str, int]:
            return {}

        def load_state_dict(self, state: dict[str, int]) -> None:
            pass

    data = Numbers()
    loader = Stateful(data, batch_size=None, **WORKERS)
    assert train(tmp_path, loop_over_batches, loader, state={"data": data, "loader": loader}) == 6


@pytest.mark.parametrize("kind", ["sampler", "batch_sampler"])
def test_a_sampler_that_workers_draw_ahead_is_refused(kind: str, tmp_path: Path) -> None:
    own = InTurn(moves=True)
    options: dict[str, Any] = {"sampler": own} if kind == "sampler" else {"batch_sampler": Pairs(own)}
    loader: Any = DataLoader(range(LENGTH), **options, **WORKERS)  # type: ignore[arg-type]
    with pytest.raises(UnbrokenError, match=r"draws its order from `own` of the state.*Next: num_workers=0; or move"):
        train(tmp_path, loop_over_batches, loader, state={"own": own})
    assert (Run.peek(tmp_path).step, (tmp_path / "journal.jsonl").read_bytes()) == (0, b"")


@pytest.mark.parametrize(("workers", "moves"), [(0, True), (1, False)])
def test_a_sampler_that_is_where_the_loop_is_goes_on(workers: int, moves: bool, tmp_path: Path) -> None:
    own = InTurn(moves)
    loader: Any = DataLoader(range(LENGTH), batch_size=None, sampler=own, **{**WORKERS, "num_workers": workers})  # type: ignore[arg-type]
    assert train(tmp_path, loop_over_batches, loader, lambda step: vars(own).update(at=step), state={"own": own}) == 6
    assert own.at == 6


def test_batches_in_no_order_are_no_stream(tmp_path: Path) -> None:
    with pytest.raises(UnbrokenError, match="has in_order=False"):
        train(tmp_path, loop_over_batches, load(Numbers(), in_order=False), state={"box": {}})
