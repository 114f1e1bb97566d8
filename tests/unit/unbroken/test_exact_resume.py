"""However a run is interrupted, its export has the bytes of the uninterrupted run."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support import toy_training
from tests.support.forks import in_child
from unbroken.errors import CheckpointError
from unbroken.exact.randomness import get_global_state, set_global_state
from unbroken.preemption import Preempted, StopFlag
from unbroken.run_folder import events, journal


def test_the_uninterrupted_run_has_every_step_once(uninterrupted: dict[str, bytes]) -> None:
    records = journal.parse_journal(uninterrupted["journal.jsonl"], "journal")
    assert [record["step"] for record in records] == list(range(1, toy_training.STEPS + 1))
    assert len({record["train/loss"] for record in records}) == toy_training.STEPS
    assert set(uninterrupted) == {"manifest.json", "tensors.safetensors", "journal.jsonl"}


@pytest.mark.parametrize("step", range(1, toy_training.STEPS))
def test_stopped_in_any_step(
    step: int, tmp_path: Path, uninterrupted: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, target = tmp_path / "run", tmp_path / "export"
    monkeypatch.setenv("UNBROKEN_INTERRUPT", f"TERM@{step}")
    assert in_child(lambda: toy_training.train(run, target, StopFlag.install())) == 75
    verdict = json.loads((run / "verdict.json").read_text())
    assert verdict == {"exit": 75, "signal": "SIGTERM", "step": step}
    monkeypatch.delenv("UNBROKEN_INTERRUPT")
    toy_training.train(run, target)
    assert toy_training.contents(target) == uninterrupted


@pytest.mark.parametrize("step", range(1, toy_training.STEPS + 1))
def test_killed_in_any_step(step: int, tmp_path: Path, uninterrupted: dict[str, bytes]) -> None:
    run, target = tmp_path / "run", tmp_path / "export"
    killed = toy_training.kill_at(step)
    assert in_child(lambda: toy_training.train(run, target, hook=killed)) == -signal.SIGKILL
    assert not (run / "verdict.json").exists()
    assert in_child(lambda: toy_training.train(run, target)) == 0
    assert toy_training.contents(target) == uninterrupted


def test_interrupted_twelve_times(tmp_path: Path, uninterrupted: dict[str, bytes]) -> None:
    run, target = tmp_path / "run", tmp_path / "export"
    chance = random.Random(0)
    for step in range(3, 39, 3):
        hook = chance.choice([toy_training.kill_at, toy_training.stop_at])(step)
        assert in_child(lambda hook=hook: toy_training.train(run, target, hook=hook, every=2)) in (-9, 75)
    assert in_child(lambda: toy_training.train(run, target)) == 0
    assert toy_training.contents(target) == uninterrupted
    assert [e["restart"] for e in events.read_events(run / "events.jsonl") if e["event"] == "start"] == list(range(13))


def test_stop_before_the_first_step_saves_nothing_and_loses_nothing(
    tmp_path: Path, uninterrupted: dict[str, bytes]
) -> None:
    stop = StopFlag(1.0)
    stop.set("SIGUSR1")
    with pytest.raises(Preempted):
        toy_training.train(tmp_path / "run", tmp_path / "export", stop)
    assert list((tmp_path / "run" / "checkpoints").iterdir()) == []
    toy_training.train(tmp_path / "run", tmp_path / "export")
    assert toy_training.contents(tmp_path / "export") == uninterrupted


def test_a_stop_in_the_last_step_finishes_the_run(tmp_path: Path, uninterrupted: dict[str, bytes]) -> None:
    toy_training.train(tmp_path / "run", tmp_path / "export", hook=toy_training.stop_at(toy_training.STEPS))
    assert toy_training.contents(tmp_path / "export") == uninterrupted
    assert json.loads((tmp_path / "run" / "verdict.json").read_text())["exit"] == 0


def test_a_finished_run_trains_nothing_and_exports_again(tmp_path: Path, uninterrupted: dict[str, bytes]) -> None:
    toy_training.train(tmp_path / "run", tmp_path / "export")
    visited: list[int] = []
    toy_training.train(tmp_path / "run", tmp_path / "export", hook=lambda _, step: visited.append(step))
    assert visited == []
    assert toy_training.contents(tmp_path / "export") == uninterrupted


@pytest.mark.long
def test_signals_from_outside_in_real_processes(tmp_path: Path, uninterrupted: dict[str, bytes]) -> None:
    command = [sys.executable, toy_training.__file__, str(tmp_path / "run"), str(tmp_path / "export")]
    environment = {**os.environ, "UNBROKEN_VERDICT": str(tmp_path / "verdict.json")}
    assert subprocess.run([*command, "17"], env=environment).returncode == -signal.SIGKILL
    process = subprocess.Popen(command, env=environment)
    seen = (tmp_path / "run" / "journal.jsonl").stat().st_size
    while (tmp_path / "run" / "journal.jsonl").stat().st_size == seen and process.poll() is None:
        time.sleep(0.001)
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) in (0, 75)
    if process.returncode == 75:
        assert json.loads((tmp_path / "verdict.json").read_text())["exit"] == 75
        assert subprocess.run(command, env=environment).returncode == 0
    assert toy_training.contents(tmp_path / "export") == uninterrupted
    assert json.loads((tmp_path / "verdict.json").read_text())["exit"] == 0


def test_a_step_that_fails_while_stopping_is_a_preemption(tmp_path: Path, uninterrupted: dict[str, bytes]) -> None:
    def worker_dies(run: object, step: int) -> None:
        if step == 20:
            run.stop.set("SIGTERM")  # type: ignore[attr-defined]
            raise RuntimeError("DataLoader worker (pid 1) is killed by signal: Terminated.")

    with pytest.raises(Preempted):
        toy_training.train(tmp_path / "run", tmp_path / "export", hook=worker_dies)  # type: ignore[arg-type]
    toy_training.train(tmp_path / "run", tmp_path / "export")
    assert toy_training.contents(tmp_path / "export") == uninterrupted


@pytest.mark.parametrize("forgotten", ["model", "optimizer", "schedule", "data"])
def test_negative_control_an_unsaved_object_is_seen(
    forgotten: str, tmp_path: Path, uninterrupted: dict[str, bytes]
) -> None:
    with pytest.raises(Preempted):
        toy_training.train(tmp_path / "run", tmp_path / "export", hook=toy_training.stop_at(13), forget=forgotten)
    toy_training.train(tmp_path / "run", tmp_path / "export", forget=forgotten)
    assert (tmp_path / "export" / "journal.jsonl").read_bytes() != uninterrupted["journal.jsonl"]


@pytest.mark.parametrize("generator", ["python", "numpy", "torch"])
def test_negative_control_an_unrestored_generator_is_seen_at_once(
    generator: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Preempted):
        toy_training.train(tmp_path / "run", tmp_path / "export", hook=toy_training.stop_at(13))

    def forgetful(stored: dict[str, Any]) -> None:
        set_global_state({**stored, generator: get_global_state()[generator]})

    monkeypatch.setattr("unbroken.checkpoint.state.set_global_state", forgetful)
    with pytest.raises(CheckpointError, match=f"did not come back as it was stored: tensor rng/{generator}"):
        toy_training.train(tmp_path / "run", tmp_path / "export")
