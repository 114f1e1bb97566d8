"""Ranks that do not do the same end at once with a sentence that says what each did, and none waits for another."""

from __future__ import annotations

import itertools
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.support.elastic_training import QUIET, forked, places
from unbroken.exact.fold import fold
from unbroken.exact.group import Group
from unbroken.preemption import StopFlag
from unbroken.processes.distributed import join_group
from unbroken.run import Run
from unbroken.run_folder.identity import Identity

pytestmark = pytest.mark.usefixtures("uninterrupted")  # torch's lazy imports, once for all forks
TIMEOUT_S = 60
"""Long after which a rank that waits would end: the tests are done before."""
Body = Callable[[Run, Group, StopFlag], object]


def start(work: Path, body: Body, size: int = 2, per_rank: bool = False) -> tuple[list[int], str]:
    """Exit codes, and what all ranks have said."""

    def train(stop: StopFlag) -> None:
        torch.set_num_threads(1)
        group = join_group(stop)
        options: dict[str, Any] = {"per_rank": {"own": {"rank": group.rank}} if per_rank else None, "every": 2}
        state = {"at": {"step": 0}}
        with Run(work / "run", identity=Identity({}), state=state, stop=stop, group=group, **options) as run:
            body(run, group, stop)

    begun = time.monotonic()
    codes = forked(places(size, **QUIET, UNBROKEN_PEER_TIMEOUT_S=str(TIMEOUT_S)), train, work / "log")
    assert time.monotonic() - begun < TIMEOUT_S / 2
    return codes, (work / "log").read_text()


def work_on(group: Group) -> None:
    fold(lambda _shard: [torch.ones(9)], group.size, group)


def end_stream(run: Run, group: Group, _stop: StopFlag) -> None:
    for _ in run.batches(range(5 - group.rank)):
        work_on(group)


def end_stream_of_rank_0(run: Run, group: Group, _stop: StopFlag) -> None:
    for _ in run.batches(iter(range(4 + group.rank)), 30):
        pass


def leave_loop(run: Run, group: Group, _stop: StopFlag) -> None:
    for step in run.steps(8):
        work_on(group)
        if step == 3 and group.rank == 1:
            break


def leave_first_step(run: Run, group: Group, _stop: StopFlag) -> None:
    for _ in run.steps(8):
        work_on(group)
        if group.rank == 0:
            break


def exit_in_step(run: Run, group: Group, _stop: StopFlag) -> None:
    for step in run.steps(8):
        work_on(group)
        if step == 3 and group.rank == 1:
            sys.exit(0)


def finish_alone(run: Run, group: Group, _stop: StopFlag) -> None:
    for step in range(1, 6):
        run.begin_step()
        work_on(group)
        run.end_step()
        if step == 3 and group.rank == 1:
            run.finish()


def make_fewer_steps(run: Run, group: Group, _stop: StopFlag) -> None:
    for _ in range(5 - group.rank):
        run.begin_step()
        work_on(group)
        run.end_step()


def cut_epoch_short(run: Run, group: Group, _stop: StopFlag) -> None:
    for epoch in run.epochs(3, 4):
        for step in epoch.steps():
            work_on(group)
            if step == 2 and group.rank == 1:
                break


def leave_epochs(run: Run, group: Group, _stop: StopFlag) -> None:
    for epoch in run.epochs(3, 4):
        for _ in epoch.steps():
            work_on(group)
        if epoch.number == 1 and group.rank == 1:
            break


def pin_between(run: Run, group: Group, _stop: StopFlag) -> None:
    list(run.steps(4))
    if group.rank == 1:
        run.pin("best")
    list(run.steps(8))


def pin_in_step(run: Run, group: Group, _stop: StopFlag) -> None:
    for step in run.steps(4):
        work_on(group)
        if step == 2 and group.rank == 1:
            run.pin("best")


def make_no_step(run: Run, group: Group, _stop: StopFlag) -> None:
    if group.rank == 1:
        list(run.steps(8))


@pytest.mark.long
@pytest.mark.parametrize("per_rank", [False, True], ids=["alike", "per_rank"])
@pytest.mark.parametrize(
    ("body", "found"),
    [
        (end_stream, "Rank 0 has a batch for step 5, but rank 1 has no batch left after step 4"),
        (end_stream_of_rank_0, "Rank 0 has no batch left after step 4, but rank 1 has a batch for step 5"),
        (leave_loop, "but rank 1 left the loop in step 3"),
        (leave_first_step, "Rank 0 left the loop in step 1, but rank 1 ends step 1"),
        (exit_in_step, "but rank 1 left the loop in step 3"),
        (finish_alone, "Rank 0 begins step 4, but rank 1 ends the run after step 3"),
        (make_fewer_steps, "Rank 0 begins step 5, but rank 1 ends the run after step 4"),
        (cut_epoch_short, "Rank 0 begins step 3, but rank 1 begins epoch 1 after step 2"),
        (leave_epochs, "but rank 1 left the loop in step 8"),
        (pin_between, "Rank 0 asks for 8 steps, but rank 1 pins 'best' after step 4"),
        (pin_in_step, "but rank 1 pins best in step 2"),
        (make_no_step, "Rank 0 leaves the run after step 0, but rank 1 asks for 8 steps"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_one_rank_does_otherwise_is_said_at_once(body: Body, found: str, per_rank: bool, tmp_path: Path) -> None:
    codes, said = start(tmp_path, body, per_rank=per_rank)
    assert codes == [1, 1], said
    assert said.count(f"{found}: all ranks have to do the same.") == 2, said
    assert json.loads((tmp_path / "run/verdict.json").read_bytes())["exit"] == 1


def test_the_rank_that_differs_is_named_among_three(tmp_path: Path) -> None:
    def end(run: Run, group: Group, _stop: StopFlag) -> None:
        for _ in run.batches(range(3 + (group.rank == 2))):
            work_on(group)

    codes, said = start(tmp_path, end, size=3)
    assert codes == [1, 1, 1]
    assert "Rank 0 has no batch left after step 3, but rank 2 has a batch for step 4" in said


@pytest.mark.parametrize("per_rank", [False, True], ids=["alike", "per_rank"])
def test_streams_that_end_alike_end_the_run(per_rank: bool, tmp_path: Path) -> None:
    def end(run: Run, group: Group, _stop: StopFlag) -> None:
        for _ in run.batches(range(5)):
            work_on(group)

    codes, said = start(tmp_path, end, per_rank=per_rank)
    assert codes == [0, 0], said
    assert json.loads((tmp_path / "run/verdict.json").read_bytes()) == {"exit": 0, "signal": None, "step": 5}


@pytest.mark.parametrize("per_rank", [False, True], ids=["alike", "per_rank"])
@pytest.mark.parametrize("rank", [0, 1])
def test_one_rank_that_leaves_because_it_was_stopped_stops_all(rank: int, per_rank: bool, tmp_path: Path) -> None:
    def leave(run: Run, group: Group, stop: StopFlag) -> None:
        for step in run.steps(8):
            work_on(group)
            if step == 5 and group.rank == rank:
                stop.set("SIGTERM")
                break

    codes, said = start(tmp_path, leave, per_rank=per_rank)
    assert codes == [75, 75], said
    verdict = json.loads((tmp_path / "run/verdict.json").read_bytes())
    assert (verdict["exit"], verdict["step"]) == (75, 4)


def test_a_step_costs_one_exchange_and_a_batch_of_a_stream_one_more(tmp_path: Path) -> None:
    def count(run: Run, group: Any, _stop: StopFlag) -> None:
        calls: list[str] = []

        def counted(name: str, ask: Callable[[Any], Any]) -> Callable[[Any], Any]:
            return lambda given: (calls.append(name), ask(given))[1]

        for name in ("any_rank", "all_gather_bytes", "broadcast"):
            setattr(group, name, counted(name, getattr(group, name)))
        for number, loop in enumerate([run.steps(20), run.batches(range(20), 39)], 1):
            seen = [len(calls) for _ in loop]
            assert {after - before for before, after in itertools.pairwise(seen[2:])} == {number}

    codes, said = start(tmp_path, count)
    assert codes == [0, 0], said
