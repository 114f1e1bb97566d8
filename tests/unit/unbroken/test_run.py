"""The run as its user sees it: locks, observers, errors."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.support import toy_training
from unbroken.errors import CheckpointError, IdentityError, LockedError, UnbrokenError
from unbroken.preemption import Preempted, StopFlag
from unbroken.run import Run
from unbroken.run_folder.events import read_events
from unbroken.run_folder.identity import Identity


def make(folder: Path, reports: list[str] | None = None, **options: Any) -> Run:
    settings: dict[str, Any] = {
        "identity": toy_training.IDENTITY,
        "state": {"cursor": {"at": 0}},
        "stop": StopFlag(9.0),
    }
    report = reports.append if reports is not None else lambda _: None
    return Run(folder, report=report, **{**settings, "lock_timeout": 0.0, **options})


def test_a_second_process_is_told_who_holds_the_folder(tmp_path: Path) -> None:
    with (
        make(tmp_path),
        pytest.raises(LockedError, match=rf"in use by process {os.getpid()} on .*Next: wait"),
    ):
        make(tmp_path).__enter__()
    with make(tmp_path):
        pass


def test_the_lock_of_a_killed_process_is_free_although_its_worker_lives(tmp_path: Path) -> None:
    program = (
        "import os, sys, time\nfrom pathlib import Path\nfrom unbroken.run_folder.lock import FolderLock\n"
        "lock = FolderLock(Path(sys.argv[1]), 0)\npid = os.fork()\nif pid == 0: time.sleep(3); os._exit(0)\n"
        "print(pid, flush=True)\ntime.sleep(60)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    worker = int(process.stdout.readline())
    with pytest.raises(LockedError, match=f"process {process.pid} on"):
        make(tmp_path).__enter__()
    process.kill()
    process.wait()
    process.stdout.close()
    with make(tmp_path, lock_timeout=2.0):
        os.kill(worker, signal.SIGKILL)


class Listener:
    def __init__(self) -> None:
        self.heard: list[Any] = []

    def started(self, step: int) -> None:
        self.heard.append(("started", step))

    def committed(self, step: int, records: list[dict[str, Any]]) -> None:
        self.heard.append((step, [record["step"] for record in records]))

    def ended(self, verdict: str) -> None:
        self.heard.append(verdict)


def test_observers_are_told_everything_once_and_again_after_a_resume(tmp_path: Path) -> None:
    first, second, third = Listener(), Listener(), Listener()
    options = {"background": False}  # when a save ends in the background is for the disk to say
    with pytest.raises(Preempted):
        toy_training.train(
            tmp_path / "run", tmp_path / "export", hook=toy_training.stop_at(9), observers=[first], **options
        )
    toy_training.train(tmp_path / "run", tmp_path / "export", observers=[second], every=20, **options)
    toy_training.train(tmp_path / "run", tmp_path / "export", observers=[third])
    assert first.heard == [("started", 0), (7, list(range(1, 8))), (9, [8, 9]), "preempted"]
    everything = [
        ("started", 9),
        (9, list(range(1, 10))),
        (20, list(range(10, 21))),
        (40, list(range(21, 41))),
    ]
    assert second.heard == [*everything, "finished"]
    assert third.heard == [("started", 40), (40, list(range(1, 41))), "finished"]


def test_a_failing_observer_is_reported_and_does_not_stop_the_run(
    tmp_path: Path, uninterrupted: dict[str, bytes]
) -> None:
    class Broken(Listener):
        def committed(self, _step: int, _records: list[dict[str, Any]]) -> None:
            raise ConnectionError("tracker is down")

    reports = toy_training.train(tmp_path / "run", tmp_path / "export", observers=[Broken()])
    assert "The observer Broken failed (ConnectionError: tracker is down)" in reports[0]
    assert toy_training.contents(tmp_path / "export") == uninterrupted


def test_an_exception_in_a_step_is_a_failure_and_resumable(tmp_path: Path, uninterrupted: dict[str, bytes]) -> None:
    def fail(_run: Run, step: int) -> None:
        if step == 25:
            raise RuntimeError("bug")

    listener = Listener()
    with pytest.raises(RuntimeError, match="bug"):
        toy_training.train(tmp_path / "run", tmp_path / "export", hook=fail, observers=[listener])
    assert listener.heard[-1] == "failed"
    assert json.loads((tmp_path / "run" / "verdict.json").read_text()) == {
        "exit": 1,
        "signal": None,
        "step": 21,
    }
    toy_training.train(tmp_path / "run", tmp_path / "export")
    assert toy_training.contents(tmp_path / "export") == uninterrupted


@pytest.mark.parametrize("name", ["manifest.json", "tensors.safetensors", "journal.jsonl"])
def test_resume_from_an_older_checkpoint_is_exact_too(
    name: str, tmp_path: Path, uninterrupted: dict[str, bytes]
) -> None:
    with pytest.raises(Preempted):
        toy_training.train(tmp_path / "run", tmp_path / "export", hook=toy_training.stop_at(30), background=False)
    damaged = tmp_path / "run" / "checkpoints" / ("" if name == "journal.jsonl" else "step-00000030") / name
    damaged.write_bytes(damaged.read_bytes()[:-5])
    (tmp_path / "run" / "journal.jsonl").write_bytes(b"garbage\n" * 40)
    reports = toy_training.train(tmp_path / "run", tmp_path / "export")
    assert any("bad-step-00000030" in report for report in reports)
    assert any("Going on from step 28" in report for report in reports)
    assert toy_training.contents(tmp_path / "export") == uninterrupted


def test_other_parameters_in_the_same_folder_are_refused(tmp_path: Path) -> None:
    with make(tmp_path):
        pass
    with pytest.raises(IdentityError, match=r"seed: 3 -> 4"):
        make(tmp_path, identity=Identity({**toy_training.IDENTITY.parts, "seed": 4})).__enter__()
    with make(tmp_path):
        pass


def test_a_model_of_another_shape_is_refused_and_nothing_is_lost(tmp_path: Path) -> None:
    with make(tmp_path, state={"model": torch.nn.Linear(2, 2)}) as run:
        list(run.steps(2))
    with pytest.raises(CheckpointError, match="`model` refused its stored state"):
        make(tmp_path, state={"model": torch.nn.Linear(3, 2)}).__enter__()
    with make(tmp_path, state={"model": torch.nn.Linear(2, 2)}) as run:
        assert run.step == 2
        assert run.final.name == "step-00000002"


def test_wrong_use_is_answered_with_a_sentence(tmp_path: Path) -> None:
    reports: list[str] = []
    with make(tmp_path, reports) as run:
        with pytest.raises(UnbrokenError, match="outside a step"):
            run.log(loss=1.0)
        with pytest.raises(UnbrokenError, match="no final checkpoint yet"):
            run.export(tmp_path / "export")
        for step in run.steps(3):
            if step == 2:
                with pytest.raises(ValueError, match="metric 'loss' is a str"):
                    run.log(loss="high")
                break
    assert reports == ["The loop was left in step 2 of 3: that is the end of this run."]
    with pytest.raises(ValueError, match="every must be at least 1"):
        make(tmp_path, every=0)
    with pytest.raises(ValueError, match="keep must be at least 1"):
        make(tmp_path, keep=0).__enter__()
    with make(tmp_path) as run:
        list(run.steps(4))
    with pytest.raises(UnbrokenError, match="at step 4 already, past the 2 steps"), make(tmp_path) as run:
        list(run.steps(2))


def test_state_that_cannot_be_stored_is_refused_before_the_first_step(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"The state at box/item holds a builtins\.object"):
        make(tmp_path, state={"box": {"item": object()}}).__enter__()


def test_the_watchdog_leaves_the_verdict_and_the_checkpoint(tmp_path: Path) -> None:
    program = (
        "from unbroken.preemption import StopFlag\nstop = StopFlag.install(deadline=0.3)\n"
        "import sys, time\nfrom pathlib import Path\nfrom unbroken import Identity, Run\n"
        "with Run(Path(sys.argv[1]), identity=Identity({}), state={'c': {}}, stop=stop, every=1) as run:\n"
        "    for step in run.steps(9):\n"
        "        if step == 3: print('ready', flush=True); time.sleep(600)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process:
        process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        begun = time.monotonic()
        assert process.wait(20) == 75
        assert time.monotonic() - begun < 5
    assert json.loads((tmp_path / "verdict.json").read_text()) == {"exit": 75, "signal": "SIGTERM", "step": 2}
    assert "step-00000002" in [p.name for p in (tmp_path / "checkpoints").iterdir()]


def test_results_hold_nothing_of_the_execution(tmp_path: Path, uninterrupted: dict[str, bytes]) -> None:
    everything = b"".join(uninterrupted.values())
    assert socket.gethostname().encode() not in everything
    assert str(tmp_path.parent).encode() not in everything


def test_facts_of_the_execution_are_in_the_start_event(tmp_path: Path) -> None:
    with make(tmp_path, start_info={"image": "sha256:ab"}):
        pass
    (start,) = [event for event in read_events(tmp_path / "events.jsonl") if event["event"] == "start"]
    assert start["image"] == "sha256:ab"
