"""A fork inherits the Run, and must neither end it nor go on with it: the folder is its parent's."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import toy_training
from tests.support.forks import in_child
from unbroken.errors import UnbrokenError
from unbroken.preemption import StopFlag
from unbroken.run import Run

Deed = Callable[[Run], object]
FORKED_AT, LEFT_OUT = 5, 97


def train(work: Path, deed: Deed, forks_in: int = FORKED_AT, by_hand: bool = False) -> None:
    """The child does its deed in that step, and goes on as its deed lets it; the parent waits for it and trains on."""
    state = toy_training.build()
    settings = {"every": 2, "background": False, "report": lambda _: None, "files": toy_training.Unsynced()}
    with Run(work / "run", identity=toy_training.IDENTITY, state=state, stop=StopFlag(), **settings) as run:  # type: ignore[arg-type]
        while run.step < toy_training.STEPS and by_hand:
            run.begin_step()
            work_in_step(run, state, forks_in, deed)
            run.end_step()
        for _ in run.steps(toy_training.STEPS):
            work_in_step(run, state, forks_in, deed)
        run.export(work / "export")


def work_in_step(run: Run, state: dict[str, object], forks_in: int, deed: Deed) -> None:
    run.log(**toy_training.train_step(state))
    if run.step + 1 != forks_in:
        return
    before = files_of(run.folder)
    pid = os.fork()
    if pid == 0:
        deed(run)
        return
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert status == int((run.folder.parent / "expected").read_text()), status
    assert files_of(run.folder) == before


def files_of(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_size for path in folder.rglob("*.json*")}


def in_a_process(action: Callable[[], object]) -> int:
    """Its exit status, in a process of its own: no fork of a test may come back to pytest."""

    def tell_errors_apart() -> None:
        try:
            action()
        except UnbrokenError as error:
            sys.exit(LEFT_OUT if "is a fork of process" in str(error) else 98)
        except Exception:
            traceback.print_exc()
            sys.exit(99)

    return in_child(tell_errors_apart)


def raise_error(_run: Run) -> None:
    raise ValueError("of the child")


DEEDS: dict[str, tuple[Deed, int]] = {
    "leaves with exit code 0": (lambda _: sys.exit(0), 0),
    "leaves with exit code 3": (lambda _: sys.exit(3), 3),
    "fails": (raise_error, 99),
    "trains on": (lambda _: None, LEFT_OUT),
    "logs": (lambda run: run.log(x=1), LEFT_OUT),
    "finishes": (lambda run: run.finish(), LEFT_OUT),
    "pins": (lambda run: run.pin("best"), LEFT_OUT),
    "looks for the final": (lambda run: run.final, LEFT_OUT),
    "exports": (lambda run: run.export(run.folder.parent / "of-child"), LEFT_OUT),
    "enters again": (lambda run: run.__enter__(), LEFT_OUT),
}


@pytest.mark.parametrize("by_hand", [False, True], ids=["steps", "begin_step"])
@pytest.mark.parametrize("deed", DEEDS)
def test_a_child_leaves_no_trace(tmp_path: Path, uninterrupted: dict[str, bytes], deed: str, by_hand: bool) -> None:
    act, status = DEEDS[deed]
    (tmp_path / "expected").write_text(str(status))
    assert in_a_process(lambda: train(tmp_path, act, by_hand=by_hand)) == 0
    assert toy_training.contents(tmp_path / "export") == uninterrupted
    assert not (tmp_path / "of-child").exists()


def test_a_parent_that_is_killed_after_its_child_left_goes_on(tmp_path: Path, uninterrupted: dict[str, bytes]) -> None:
    def leave_and_kill(run: Run) -> None:
        os.kill(os.getppid(), signal.SIGKILL)
        sys.exit(0)

    assert in_a_process(lambda: train(tmp_path, leave_and_kill)) == -signal.SIGKILL
    assert in_a_process(lambda: train(tmp_path, lambda _: None, forks_in=0)) == 0
    assert toy_training.contents(tmp_path / "export") == uninterrupted
