"""Every way out of every loop, with a stop asked for in that step and without: exit code, verdict and bytes agree."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.support import toy_training
from unbroken.ending import find_exit_code
from unbroken.errors import PeerError, UnbrokenError
from unbroken.preemption import StopFlag
from unbroken.run import Run

SIZE, OUT = 8, 13
"""Steps of an epoch, and the step in which the loop is left."""
Leave = Callable[[Iterator[Any]], object]
Body = Callable[[int, Iterator[Any]], bool]


class LeftError(Exception):
    """The program's own."""


def _raise(error: BaseException) -> Leave:
    def leave(_steps: Iterator[Any]) -> object:
        raise error

    return leave


WAYS: dict[str, tuple[Leave, int]] = {
    "break": (lambda _steps: None, 0),
    "closed": (lambda steps: steps.close(), 0),  # type: ignore[attr-defined]
    "exit 0": (lambda _steps: sys.exit(0), 0),
    "exit 3": (lambda _steps: sys.exit(3), 3),
    "exit with a sentence": (lambda _steps: sys.exit("lost"), 1),
    "exception": (_raise(LeftError()), 1),
    "end of another iterator": (lambda _steps: next(iter([])), 1),
    "interrupt": (_raise(KeyboardInterrupt()), 130),
    "lost peer": (_raise(PeerError("Rank 1 is gone.")), 1),
}
"""What the program does, and its exit code if nobody asked to stop."""


def by_steps(run: Run, body: Body) -> None:
    for step in (steps := run.steps(toy_training.STEPS)):
        if body(step, steps):
            return


def by_unnamed_steps(run: Run, body: Body) -> None:
    for step in run.steps(toy_training.STEPS):
        if body(step, iter(())):
            break


def by_batches(run: Run, body: Body) -> None:
    for step, _ in (pairs := run.batches(iter(range(100)), toy_training.STEPS)):
        if body(step, pairs):
            break


def by_hand(run: Run, body: Body) -> None:
    while run.step < toy_training.STEPS:
        is_left = body(run.begin_step(), iter(()))
        run.end_step()
        if is_left:
            break


def by_epochs(run: Run, body: Body) -> None:
    for epoch in (epochs := run.epochs(toy_training.STEPS // SIZE, SIZE)):
        for step in (steps := epoch.steps()):
            if body(step, steps):
                return
    assert epochs


LOOPS = {"steps": by_steps, "unnamed": by_unnamed_steps, "batches": by_batches, "by hand": by_hand, "epochs": by_epochs}


def start(loop: Any, work: Path, leave: Leave | None = None, stop: StopFlag | None = None) -> tuple[int, Run]:
    """Exit code and run; with `leave` the loop is left in step OUT."""
    torch.set_num_threads(1)
    state, flag = toy_training.build(), stop or StopFlag()

    def body(step: int, steps: Iterator[Any]) -> bool:
        run.log(**toy_training.train_step(state))
        if step != OUT or leave is None:
            return False
        if stop is not None:
            stop.set("SIGTERM")
        leave(steps)
        return True

    options = {"every": 5, "report": lambda _: None, "files": toy_training.Unsynced(), "lock_timeout": 0.0}
    run = Run(work / "run", identity=toy_training.IDENTITY, state=state, stop=flag, **options)  # type: ignore[arg-type]
    try:
        with run:
            loop(run, body)
    except BaseException as error:
        return find_exit_code(error), run
    return 0, run


def read_verdict(work: Path) -> int:
    return int(json.loads((work / "run" / "verdict.json").read_text())["exit"])


CASES = [
    pytest.param(loop, way, id=f"{loop}-{way}")
    for loop in LOOPS
    for way in WAYS
    if way != "closed" or loop in ("steps", "batches", "epochs")
]


@pytest.mark.parametrize(("loop", "way"), CASES)
def test_left_without_a_stop(loop: str, way: str, tmp_path: Path) -> None:
    leave, code = WAYS[way]
    if loop == "by hand" and way == "exit 0":
        code = 1  # inside a step that has no end: refused in a sentence
    assert start(LOOPS[loop], tmp_path, leave)[0] == code
    assert read_verdict(tmp_path) == code
    assert Run.peek(tmp_path / "run").final is (code == 0)


@pytest.mark.parametrize(("loop", "way"), CASES)
def test_left_while_a_stop_is_asked_for(loop: str, way: str, tmp_path: Path, uninterrupted: dict[str, bytes]) -> None:
    assert start(LOOPS[loop], tmp_path, WAYS[way][0], StopFlag())[0] == 75
    assert read_verdict(tmp_path) == 75
    assert not Run.peek(tmp_path / "run").final
    code, run = start(LOOPS[loop], tmp_path)
    assert code == 0
    files = toy_training.contents(run.final)
    assert files["tensors.safetensors"] == uninterrupted["tensors.safetensors"]


def test_an_error_of_ours_keeps_its_exit_code_while_a_stop_is_asked_for(tmp_path: Path) -> None:
    assert start(by_steps, tmp_path, _raise(UnbrokenError("This is no stop.")), StopFlag())[0] == 1
    assert read_verdict(tmp_path) == 1


@pytest.mark.parametrize("before", [0, 5])
def test_a_stop_before_the_first_step_is_no_end(before: int, tmp_path: Path) -> None:
    """The loop looks at the flag by itself, and makes no step."""
    options = {"every": 1, "report": lambda _: None, "background": False}
    if before:
        with suppress(SystemExit), Run(tmp_path, **new_options(), **options) as run:
            for step in run.steps(9):
                if step == before:
                    run.stop.set("SIGTERM")
    left = 0
    try:
        with Run(tmp_path, **new_options(), **options) as run:
            run.stop.set("SIGTERM")
            while run.step < 9 and not run.stop.is_set():
                run.begin_step()
    except SystemExit as error:
        left = find_exit_code(error)
    assert left == 75
    assert json.loads((tmp_path / "verdict.json").read_text()) == {"exit": 75, "signal": "SIGTERM", "step": before}


def new_options() -> dict[str, Any]:
    return {"identity": toy_training.IDENTITY, "state": {"cursor": {"at": 0}}, "stop": StopFlag()}


@pytest.mark.parametrize("total", [None, 9])
def test_a_run_that_is_whole_stays_so_although_a_stop_comes(total: int | None, tmp_path: Path) -> None:
    with Run(tmp_path, **new_options(), report=lambda _: None) as run:
        list(run.steps(9))
    with Run(tmp_path, **new_options(), report=lambda _: None) as run:
        run.stop.set("SIGTERM")
        assert total is None or list(run.steps(total)) == []
    assert json.loads((tmp_path / "verdict.json").read_text())["exit"] == 0


@pytest.mark.parametrize("stops", [True, False])
def test_epochs_that_a_variable_holds_are_left_between_two(stops: bool, tmp_path: Path) -> None:
    """`break` closes no generator that has a name."""

    def leave_between() -> None:
        with Run(tmp_path, **new_options(), report=lambda _: None) as run:
            epochs = run.epochs(3, 4)
            for epoch in epochs:
                if epoch.number == 1:
                    if stops:
                        run.stop.set("SIGTERM")
                    break
                list(epoch.steps())
            assert epochs

    if stops:
        with pytest.raises(SystemExit, match="being stopped"):
            leave_between()
    else:
        leave_between()
    seen = Run.peek(tmp_path)
    assert (seen.step if not stops else 0, seen.final) == ((4, True) if not stops else (0, False))
