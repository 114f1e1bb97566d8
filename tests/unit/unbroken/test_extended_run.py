"""A run that is asked for more steps, later or in the same program: once for each epoch, 60 and then 90."""

from __future__ import annotations

import errno
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest
import torch

from tests.support import toy_training
from tests.support.forks import in_child
from unbroken.errors import StorageError, UnbrokenError
from unbroken.preemption import Preempted, StopFlag
from unbroken.run import Run

EPOCHS = (13, 26, toy_training.STEPS)
"""What is asked for, one after the other."""

T = TypeVar("T")


def train(work: Path, **options: Any) -> list[str]:
    return toy_training.train(work / "run", work / "export", **options)


def train_epochs(work: Path, **options: Any) -> list[str]:
    """With something at the end of each epoch that changes the state, and draws."""
    return train(work, totals=EPOCHS, between=end_epoch, **options)


def end_epoch(state: dict[str, Any]) -> None:
    state["optimizer"].param_groups[0]["weight_decay"] *= 0.5
    with torch.no_grad():
        state["model"][0].bias += torch.rand(8) / 100


def pinned(work: Path) -> list[int]:
    manifests = map(Path.read_bytes, sorted((work / "run" / "checkpoints").glob("step-*/manifest.json")))
    return [manifest["step"] for manifest in map(json.loads, manifests) if manifest["pinned"]]


def checkpoints(work: Path) -> list[str]:
    return sorted(path.name for path in (work / "run" / "checkpoints").glob("step-*"))


def verdict(work: Path) -> dict[str, Any]:
    return json.loads((work / "run" / "verdict.json").read_text())  # type: ignore[no-any-return]


@pytest.fixture(scope="session")
def epochs(tmp_path_factory: pytest.TempPathFactory, uninterrupted: dict[str, bytes]) -> dict[str, bytes]:
    """The export of a run over epochs that nothing disturbed."""
    work = tmp_path_factory.mktemp("epochs")
    train_epochs(work)
    exported = toy_training.contents(work / "export")
    assert exported != uninterrupted
    return exported


@pytest.mark.parametrize("totals", [EPOCHS, range(1, 41), (40, 40), (39, 40)])
def test_a_run_in_parts_is_the_run_in_one(totals: Any, tmp_path: Path, uninterrupted: dict[str, bytes]) -> None:
    train(tmp_path, totals=totals)
    assert toy_training.contents(tmp_path / "export") == uninterrupted
    assert verdict(tmp_path) == {"exit": 0, "signal": None, "step": 40}
    assert pinned(tmp_path) == [40]
    assert len(checkpoints(tmp_path)) <= 4


@pytest.mark.parametrize("every", [1, 7, 100])
def test_a_finished_run_goes_on_later(every: int, tmp_path: Path, uninterrupted: dict[str, bytes]) -> None:
    for total in (13, 26, 33, 40):
        visited: list[int] = []
        hook: toy_training.Hook = lambda _run, step, visited=visited: visited.append(step)  # type: ignore[misc] # noqa: E731
        train(tmp_path, totals=(total,), every=every, hook=hook)
        assert visited[-1] == total
        assert verdict(tmp_path) == {"exit": 0, "signal": None, "step": total}
        assert pinned(tmp_path) == [total]
        train(tmp_path, totals=(total,), every=every, hook=hook)
        assert visited[-1] == total
        assert len(visited) == total - visited[0] + 1
    assert toy_training.contents(tmp_path / "export") == uninterrupted
    assert len(checkpoints(tmp_path)) <= 4


@pytest.mark.long
@pytest.mark.parametrize("step", range(1, toy_training.STEPS))
def test_stopped_in_any_step_of_any_epoch(
    step: int, tmp_path: Path, epochs: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNBROKEN_INTERRUPT", f"TERM@{step}")
    assert in_child(lambda: train_epochs(tmp_path, stop=StopFlag.install())) == 75
    assert verdict(tmp_path) == {"exit": 75, "signal": "SIGTERM", "step": step}
    monkeypatch.delenv("UNBROKEN_INTERRUPT")
    train_epochs(tmp_path)
    assert toy_training.contents(tmp_path / "export") == epochs
    assert pinned(tmp_path) == [40]


@pytest.mark.long
@pytest.mark.parametrize("step", range(1, toy_training.STEPS + 1))
def test_killed_in_any_step_of_any_epoch(step: int, tmp_path: Path, epochs: dict[str, bytes]) -> None:
    killed = toy_training.kill_at(step)
    assert in_child(lambda: train_epochs(tmp_path, hook=killed)) == -signal.SIGKILL
    train_epochs(tmp_path)
    assert toy_training.contents(tmp_path / "export") == epochs
    assert pinned(tmp_path) == [40]


class KilledAt(toy_training.Unsynced):
    """SIGKILL at one of the operations on the checkpoints."""

    def __init__(self, number: int) -> None:
        self.left = number

    def call(self, name: str, path: Path, action: Callable[[], T]) -> T:
        if "checkpoints" in path.parts and name not in ("read", "stat"):
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return action()


@pytest.mark.long
def test_killed_at_any_operation_of_a_later_final_save(tmp_path: Path, epochs: dict[str, bytes]) -> None:
    for number in range(1, 1000):
        work = tmp_path / str(number)
        files = KilledAt(number)
        ended = in_child(
            lambda work=work, files=files: train_epochs(work, every=100, keep=1, background=False, files=files)
        )
        if ended == 0:
            break
        assert ended == -signal.SIGKILL
        finals = pinned(work)
        reports = train_epochs(work, every=100, keep=1)
        assert not finals or any(f"Going on from step {finals[-1]}" in report for report in reports)
        assert toy_training.contents(work / "export") == epochs
        assert pinned(work) == [40]
    assert number > 100


def test_the_older_final_stays_until_the_newer_is_verified(tmp_path: Path, uninterrupted: dict[str, bytes]) -> None:
    class Full(toy_training.Unsynced):
        def create(self, path: Path) -> int:
            if "checkpoints" in path.parts:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
            return super().create(path)

    train(tmp_path, totals=(13,), every=100, keep=1)
    for _ in range(3):
        with pytest.raises(StorageError, match=r"The checkpoint of step 13 is intact"):
            train(tmp_path, totals=(26,), every=5, keep=1, files=Full())
        assert pinned(tmp_path) == [13]
        assert verdict(tmp_path)["exit"] == 1
    train(tmp_path, totals=(26, 40))
    assert toy_training.contents(tmp_path / "export") == uninterrupted


def test_a_step_that_is_durable_becomes_final_where_it_is(tmp_path: Path) -> None:
    train(tmp_path / "one", totals=(20,))
    with pytest.raises(Preempted):
        train(tmp_path / "two", hook=toy_training.stop_at(20))
    assert pinned(tmp_path / "two") == []
    train(tmp_path / "two", totals=(20,))
    assert pinned(tmp_path / "two") == [20]
    assert not any(name.startswith(("bad-", ".tmp-")) for name in checkpoints(tmp_path / "two"))
    assert toy_training.contents(tmp_path / "two" / "export") == toy_training.contents(tmp_path / "one" / "export")


def test_an_extension_that_fails_has_no_final(tmp_path: Path) -> None:
    def fail(run: Run, step: int) -> None:
        if step == 30:
            with pytest.raises(UnbrokenError, match="has no final checkpoint yet: it is at step 29"):
                run.export(tmp_path / "no")
            raise RuntimeError("bug")

    train(tmp_path, totals=(26,))
    with pytest.raises(RuntimeError, match="bug"):
        train(tmp_path, hook=fail)
    assert verdict(tmp_path) == {"exit": 1, "signal": None, "step": 28}
    assert pinned(tmp_path) == [26]


def test_an_export_of_an_epoch_that_was_passed_is_left_as_it_is(tmp_path: Path, epochs: dict[str, bytes]) -> None:
    reports: list[str] = []

    def train_and_export(hook: toy_training.Hook = lambda _run, _step: None) -> None:
        state, settings = toy_training.build(), {"every": 7, "report": reports.append, "files": toy_training.Unsynced()}
        with Run(tmp_path / "run", identity=toy_training.IDENTITY, state=state, stop=StopFlag(), **settings) as run:  # type: ignore[arg-type]
            for total in EPOCHS:
                for step in run.steps(total):
                    run.log(**toy_training.train_step(state))
                    hook(run, step)
                end_epoch(state)
                run.export(tmp_path / f"export-{total}")

    with pytest.raises(Preempted):
        train_and_export(toy_training.stop_at(33))
    before = toy_training.contents(tmp_path / "export-13")
    train_and_export()
    assert f"{tmp_path / 'export-13'} is left as it is: step 13 was passed by an earlier start of this run." in reports
    assert toy_training.contents(tmp_path / "export-13") == before
    assert toy_training.contents(tmp_path / "export-40") == epochs
