"""A loop that is left by `break` has ended: its last step is final, and exit code and verdict agree."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support import toy_training
from tests.support.forks import in_child
from unbroken.errors import StorageError, UnbrokenError
from unbroken.preemption import Preempted, StopFlag
from unbroken.run import Run

LAST = 16
Hook = Callable[[Run, int], object]


def train(work: Path, hook: Hook = lambda _run, _step: None, stop: StopFlag | None = None, **options: Any) -> list[str]:
    """Early stopping: the loop is left in step LAST, by what the state says."""
    reports: list[str] = []
    state = {**toy_training.build(), "patience": {"left": LAST}}
    settings = {"every": 5, "report": reports.append, "files": toy_training.Unsynced(), **options}
    with Run(work / "run", identity=toy_training.IDENTITY, state=state, stop=stop or StopFlag(), **settings) as run:
        for step in run.steps(toy_training.STEPS):
            run.log(**toy_training.train_step(state))
            state["patience"]["left"] -= 1
            hook(run, step)
            if state["patience"]["left"] == 0:
                break
        run.export(work / "export")
    return reports


def verdict(work: Path) -> dict[str, Any]:
    return json.loads((work / "run" / "verdict.json").read_text())  # type: ignore[no-any-return]


@pytest.fixture(scope="session")
def ended(tmp_path_factory: pytest.TempPathFactory, uninterrupted: dict[str, bytes]) -> dict[str, bytes]:
    """The export of a run that was left early and not disturbed."""
    assert uninterrupted
    work = tmp_path_factory.mktemp("ended")
    reports = train(work)
    assert reports == ["The loop was left in step 16 of 40: that is the end of this run."]
    assert verdict(work) == {"exit": 0, "signal": None, "step": LAST}
    exported = toy_training.contents(work / "export")
    assert exported["journal.jsonl"].count(b"\n") == LAST
    return exported


def test_a_start_after_it_trains_nothing_and_exports_again(tmp_path: Path, ended: dict[str, bytes]) -> None:
    train(tmp_path)
    visited: list[int] = []
    reports = train(tmp_path, lambda _run, step: visited.append(step))
    assert visited == []
    assert any("was left in step 16 by an earlier start: nothing is trained" in report for report in reports)
    assert toy_training.contents(tmp_path / "export") == ended
    (tmp_path / "run" / "early-end.json").unlink()
    train(tmp_path, lambda _run, step: visited.append(step))
    assert visited == list(range(LAST + 1, toy_training.STEPS + 1))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("phase", ["", ":end"])
@pytest.mark.parametrize("step", [1, 5, 9, 15, 16])
def test_interrupted_in_any_step_it_ends_in_the_same_bytes(
    step: int, phase: str, number: signal.Signals, tmp_path: Path, ended: dict[str, bytes], monkeypatch: Any
) -> None:
    monkeypatch.setenv("UNBROKEN_INTERRUPT", f"{number.name[3:]}@{step}{phase}")
    code = in_child(lambda: train(tmp_path, stop=StopFlag.install()))
    if code != 0:
        assert code in (75, -signal.SIGKILL)
        monkeypatch.delenv("UNBROKEN_INTERRUPT")
        train(tmp_path)
    assert toy_training.contents(tmp_path / "export") == ended
    assert verdict(tmp_path)["exit"] == 0


def test_a_loop_that_is_left_because_of_a_stop_goes_on_at_the_next_start(
    tmp_path: Path, uninterrupted: dict[str, bytes]
) -> None:
    def start(stop: StopFlag, hook: Hook) -> None:
        state = toy_training.build()
        with Run(tmp_path / "run", identity=toy_training.IDENTITY, state=state, stop=stop, every=5) as run:
            for step in run.steps(toy_training.STEPS):
                run.log(**toy_training.train_step(state))
                hook(run, step)
                if stop.is_set():
                    break
            run.export(tmp_path / "export")

    with pytest.raises(Preempted):
        start(StopFlag(), toy_training.stop_at(13))
    assert verdict(tmp_path)["exit"] == 75
    start(StopFlag(), lambda _run, _step: None)
    assert toy_training.contents(tmp_path / "export") == uninterrupted


def test_an_exit_with_0_inside_a_step_is_an_end_too(tmp_path: Path, ended: dict[str, bytes]) -> None:
    def leave(_run: Run, step: int) -> None:
        if step == LAST:
            sys.exit(0)

    with pytest.raises(SystemExit):
        train(tmp_path, leave)
    assert verdict(tmp_path) == {"exit": 0, "signal": None, "step": LAST}
    train(tmp_path)
    assert toy_training.contents(tmp_path / "export") == ended


def test_a_failed_final_save_that_the_program_caught_is_no_end(tmp_path: Path) -> None:
    class Full(toy_training.Unsynced):
        def make_folder(self, path: Path) -> None:
            raise OSError(28, "No space left on device", str(path))

    state = {"cursor": {"at": 0}}
    with (
        pytest.raises(UnbrokenError, match="was left at step 3, of which step 0 is durable"),
        Run(tmp_path, identity=toy_training.IDENTITY, state=state, stop=StopFlag(), files=Full()) as run,
        pytest.raises(StorageError),
    ):
        list(run.steps(3))
    assert json.loads((tmp_path / "verdict.json").read_text())["exit"] == 1
