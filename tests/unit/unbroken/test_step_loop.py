"""Loops that `run.steps` does not write: begin_step, end_step and finish; streams without a known end."""

from __future__ import annotations

import itertools
import json
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    DistributedSampler,
    RandomSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)

from tests.support import toy_training
from tests.support.forks import in_child
from tests.support.thread_group import run_on_threads
from unbroken.errors import UnbrokenError
from unbroken.exact.group import Group
from unbroken.preemption import Preempted, StopFlag
from unbroken.run import Run

Hook = Callable[[Run, int], object]


def open_run(folder: Path, state: dict[str, Any], stop: StopFlag | None = None, **options: Any) -> Run:
    settings = {"every": 7, "report": lambda _: None, "files": toy_training.Unsynced(), "lock_timeout": 0.0, **options}
    return Run(folder, identity=toy_training.IDENTITY, state=state, stop=stop or StopFlag(), **settings)


def train_by_hand(
    work: Path,
    stop: StopFlag | None = None,
    hook: Hook = lambda _run, _step: None,
    ends: str = "finish",
    **options: Any,
) -> None:
    """As a framework that owns its loop does it."""
    state = toy_training.build()
    with open_run(work / "run", state, stop, **options) as run:
        while run.step < toy_training.STEPS:
            step = run.begin_step()
            assert step == run.step + 1
            run.log(**toy_training.train_step(state))
            hook(run, step)
            run.end_step()
            assert step == run.step
        if ends == "finish":
            run.finish()
            run.export(work / "export")
    if ends != "finish":
        with open_run(work / "run", toy_training.build()) as run:
            run.export(work / "export")


def verdict(work: Path) -> dict[str, Any]:
    return json.loads((work / "run" / "verdict.json").read_text())  # type: ignore[no-any-return]


@pytest.mark.parametrize("ends", ["finish", "with"])
@pytest.mark.parametrize("every", [1, 7, 100])
def test_a_loop_by_hand_is_the_run_of_steps(
    every: int, ends: str, tmp_path: Path, uninterrupted: dict[str, bytes]
) -> None:
    train_by_hand(tmp_path, every=every, ends=ends)
    assert toy_training.contents(tmp_path / "export") == uninterrupted
    assert verdict(tmp_path) == {"exit": 0, "signal": None, "step": 40}


@pytest.mark.long
@pytest.mark.parametrize("name", ["TERM", "KILL"])
@pytest.mark.parametrize("step", range(1, toy_training.STEPS + 1, 3))
def test_interrupted_by_hand_it_ends_in_the_same_bytes(
    step: int, name: str, tmp_path: Path, uninterrupted: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNBROKEN_INTERRUPT", f"{name}@{step}:{('step', 'end')[step % 2]}")
    code = in_child(lambda: train_by_hand(tmp_path, StopFlag.install()))
    assert code == (-signal.SIGKILL if name == "KILL" else 75 if step < toy_training.STEPS else 0)
    monkeypatch.delenv("UNBROKEN_INTERRUPT")
    train_by_hand(tmp_path)
    assert toy_training.contents(tmp_path / "export") == uninterrupted


def test_no_step_is_lost_when_the_end_is_not_said_and_a_stop_comes(tmp_path: Path) -> None:
    def leave_early() -> None:
        with open_run(tmp_path, {"cursor": {"at": 0}}, every=100) as run:
            for _ in range(5):
                run.begin_step()
                run.end_step()
            run.stop.set("SIGTERM")

    with pytest.raises(Preempted):
        leave_early()
    assert json.loads((tmp_path / "verdict.json").read_text()) == {"exit": 75, "signal": "SIGTERM", "step": 5}
    with open_run(tmp_path, {"cursor": {"at": 0}}) as run:
        assert run.step == 5


def test_a_program_that_said_finish_is_done_although_a_stop_came(tmp_path: Path) -> None:
    with open_run(tmp_path, {"cursor": {"at": 0}}, every=100) as run:
        run.begin_step()
        run.end_step()
        run.stop.set("SIGTERM")
        run.finish()
        run.finish()
    assert json.loads((tmp_path / "verdict.json").read_text()) == {"exit": 0, "signal": "SIGTERM", "step": 1}


def test_what_does_not_fit_is_answered_with_a_sentence(tmp_path: Path) -> None:
    state = {"cursor": {"at": 0}}
    with open_run(tmp_path, state) as run:
        with pytest.raises(UnbrokenError, match=r"called after step 0, but run\.begin_step has begun none"):
            run.end_step()
        assert run.begin_step() == 1
        for call in (run.begin_step, run.finish, lambda: next(run.steps(9))):
            with pytest.raises(UnbrokenError, match=r"inside step 1, which has begun and not ended; step 0 is durable"):
                call()
        run.end_step()
        for step in run.steps(3):
            for call in (run.begin_step, run.finish):
                with pytest.raises(UnbrokenError, match=rf"inside step {step}, which has begun and not ended"):
                    call()
            with pytest.raises(UnbrokenError, match=r"run\.begin_step has begun none"):
                run.end_step()
    assert json.loads((tmp_path / "verdict.json").read_text())["step"] == 3


@pytest.mark.parametrize("leave", [lambda: None, lambda: sys.exit(0)])
def test_a_step_that_has_not_ended_is_no_end(leave: Callable[[], None], tmp_path: Path) -> None:
    def leave_inside() -> None:
        with open_run(tmp_path, {"cursor": {"at": 0}}, every=1, background=False) as run:
            for _ in range(3):
                run.begin_step()
                run.end_step()
            run.begin_step()
            leave()

    with pytest.raises(UnbrokenError, match="The run was left inside step 4, which has begun and not ended"):
        leave_inside()
    assert json.loads((tmp_path / "verdict.json").read_text()) == {"exit": 1, "signal": None, "step": 3}


class Stream:
    """Its position is state; nobody knows where it ends."""

    def __init__(self, length: int = toy_training.STEPS) -> None:
        self.at = {"position": 0}
        self._length = length

    def __iter__(self) -> Iterator[int]:
        while self.at["position"] < self._length:
            self.at["position"] += 1
            yield self.at["position"]


def train_stream(work: Path, stop: StopFlag | None = None, hook: Hook = lambda _run, _step: None) -> None:
    state, stream = toy_training.build(), Stream()
    with open_run(work / "run", {**state, "stream": stream.at}, stop) as run:
        for step, position in run.batches(stream):
            assert position == step
            run.log(**toy_training.train_step(state))
            hook(run, step)
        run.export(work / "export")


DATA: Any = range(20)


def load(sampler: Any) -> DataLoader[int]:
    return DataLoader(DATA, 2, sampler=sampler)


@pytest.mark.parametrize(
    "make",
    [
        lambda: DataLoader(DATA, 2, shuffle=True),
        lambda: load(WeightedRandomSampler([1.0] * 20, 20)),
        lambda: load(SubsetRandomSampler(range(9))),
        lambda: load(DistributedSampler(DATA, 2, 0)),
        lambda: DataLoader(DATA, batch_sampler=BatchSampler(RandomSampler(DATA), 2, drop_last=False)),
    ],
)
def test_a_loader_that_shuffles_anew_in_each_start_is_no_stream(
    make: Callable[[], DataLoader[int]], tmp_path: Path
) -> None:
    refused = pytest.raises(UnbrokenError, match=r"Sampler, which shuffles anew.*Next: loop over run\.epochs")
    with refused, open_run(tmp_path, toy_training.build()) as run:
        next(iter(run.batches(make())))
    assert Run.peek(tmp_path).step == 0


def test_loaders_that_begin_where_the_run_is_are_streams(tmp_path: Path) -> None:
    class Known(RandomSampler):
        """Its position is in the state."""

        def state_dict(self) -> dict[str, int]:
            return {"at": 0}

        def load_state_dict(self, state: dict[str, int]) -> None:
            pass

    known, in_turn = Known(DATA), DistributedSampler(DATA, 2, 0, shuffle=False)
    loaders = (DataLoader(DATA, batch_sampler=[[0, 1], [2, 3]]), DataLoader(DATA, 2), load(known), load(in_turn))
    with open_run(tmp_path, {**toy_training.build(), "sampler": known}) as run:
        for loader in loaders:
            assert len(list(run.batches(loader, run.step + 2))) == 2
    assert Run.peek(tmp_path).step == 8


@pytest.mark.parametrize("step", [1, 7, 8, 20, 39])
@pytest.mark.parametrize("kill", [True, False])
def test_a_stream_of_unknown_length(step: int, kill: bool, tmp_path: Path) -> None:
    train_stream(tmp_path / "one")
    hook = toy_training.kill_at(step) if kill else toy_training.stop_at(step)
    assert in_child(lambda: train_stream(tmp_path / "two", hook=hook)) in (75, -signal.SIGKILL)
    train_stream(tmp_path / "two")
    for _ in range(2):  # and an ended run trains nothing
        one, two = (toy_training.contents(tmp_path / name / "export") for name in ("one", "two"))
        assert one == two
        assert one["journal.jsonl"].count(b"\n") == toy_training.STEPS
        train_stream(tmp_path / "two", hook=lambda _run, _step: os._exit(9))


def test_a_loop_without_end_is_left_by_break(tmp_path: Path) -> None:
    reports: list[str] = []
    for _ in range(2):
        cursor = {"at": 0}
        with open_run(tmp_path / "run", {"cursor": cursor}, report=reports.append) as run:
            for _step in run.steps():
                cursor["at"] += 1
                if cursor["at"] == 5:
                    break
            run.finish()
            assert (run.step, cursor["at"]) == (5, 5)
            assert run.final.name == "step-00000005"
    assert "The loop was left in step 5: that is the end of this run." in reports
    assert any("The loop without end was left in step 5 by an earlier start" in report for report in reports)
    (tmp_path / "run" / "early-end.json").unlink()
    with open_run(tmp_path / "run", {"cursor": {"at": 0}}) as run:
        assert list(itertools.islice(run.steps(), 2)) == [6, 7]


def test_what_rank_0_alone_has_is_not_called_missing_on_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Run, "_check_ranks_agree", lambda _: None)  # threads share the global generators

    def train(group: Group) -> list[str]:
        stop = StopFlag()
        with open_run(tmp_path, {"box": {}}, stop, group=group, numerics={}) as run:
            list(run.steps(1))
            asked = [lambda: run.final, lambda: run.pinned("best"), lambda: run.restart]
            return [answer(one) for one in asked]

    def answer(ask: Callable[[], object]) -> str:
        try:
            return str(ask())
        except UnbrokenError as error:
            return str(error)

    first, second = run_on_threads(2, train)
    assert first == [str(tmp_path / "checkpoints" / "step-00000001"), "None", "0"]
    for sentence in second:
        assert re.fullmatch(r"Rank 1 was asked for what lies in .*, which rank 0 alone has open\. Next: .*", sentence)
