"""Saves in the background: the loop is not blocked, nothing is torn, what must be durable is."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest
import torch

from tests.support import toy_training
from unbroken.checkpoint.buffers import Buffer
from unbroken.checkpoint.schedule import FixedSchedule, YoungDalySchedule, interruptions_per_hour, young_daly_interval
from unbroken.checkpoint.state import Snapshot, capture_state
from unbroken.checkpoint.store import CheckpointStore
from unbroken.checkpoint.writer import SaveRequest, SaveResult, Writer
from unbroken.errors import CheckpointError
from unbroken.preemption import Preempted
from unbroken.run_folder import events

T = TypeVar("T")


class Slow(toy_training.Unsynced):
    """A disk that waits for a gate at the commit of every checkpoint."""

    def __init__(self) -> None:
        self.gate, self.arrived = threading.Event(), threading.Event()

    def call(self, name: str, path: Path, action: Callable[[], T]) -> T:
        if name == "rename" and path.name.startswith("step-"):
            self.arrived.set()
            assert self.gate.wait(20)
        return action()


def of_event(folder: Path, name: str) -> list[int]:
    return [event["step"] for event in events.read_events(folder / "events.jsonl") if event["event"] == name]


def test_a_buffer_is_filled_again_without_allocating() -> None:
    buffer = Buffer()
    weights = torch.arange(6.0).reshape(2, 3)
    first = buffer.fill(Snapshot({"w": weights, "b": torch.ones(2, dtype=torch.bfloat16)}, {}))
    place = first.tensors["w"].data_ptr()
    weights += 1
    assert first.tensors["w"][0, 0] == 0
    second = buffer.fill(Snapshot({"w": weights.t().contiguous().t()}, {}))
    assert second.tensors["w"].data_ptr() == place
    assert torch.equal(second.tensors["w"], weights)
    assert list(second.tensors) == ["w"]
    third = buffer.fill(Snapshot({"w": torch.zeros(7)}, {}))
    assert third.tensors["w"].shape == (7,)
    with pytest.raises(CheckpointError, match=r"Tensor w has dtype torch\.complex128"):
        buffer.fill(Snapshot({"w": torch.zeros(2, dtype=torch.complex128)}, {}))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_state_on_a_gpu_is_copied_beside_the_loop_and_later_work_waits_for_it() -> None:
    weights = torch.ones(64_000_000, device="cuda")
    buffer = Buffer()
    buffer.fill(Snapshot({"w": weights}, {}))
    buffer.wait()
    for value in range(2, 6):
        weights.fill_(value)
        copied = buffer.fill(Snapshot({"w": weights, "cpu": torch.zeros(3)}, {}))
        weights.fill_(-1)  # queued at once, and done only after the copy
        buffer.wait()
        assert copied.tensors["w"].is_pinned()
        assert copied.tensors["w"].min() == copied.tensors["w"].max() == value


TEAMS = """
import os, sys, time
from pathlib import Path
import torch
from unbroken.checkpoint.store import CheckpointStore
from unbroken.checkpoint.state import capture_state
from unbroken.checkpoint.writer import SaveRequest, Writer

torch.set_num_threads(2)
weights = torch.zeros(1_000_000)
weights.add_(1)
threads = lambda: len(os.listdir("/proc/self/task"))
before = threads()
store = CheckpointStore(Path(sys.argv[1]))
writer = Writer(lambda request, snapshot: store.save(request.step, snapshot, "a" * 64), background=True)
live = capture_state({"w": {"w": weights, "odd": torch.zeros(999, 333).t()}}, copy=False)
writer.prepare(live)
while writer._unprepared or writer._busy:
    time.sleep(0.01)
for step in (1, 2):
    writer.submit(SaveRequest(step, None, False), live, 0.0)
    assert [result.error for result in writer.drain()] == [None]
print(threads() - before)
"""


def test_the_writing_thread_has_no_team_of_openmp_threads(tmp_path: Path) -> None:
    """With one, the loop's team sleeps in every parallel region: libgomp counts more threads than cores."""
    command = [sys.executable, "-c", TEAMS, str(tmp_path)]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert printed == "1\n", "the writing thread itself, and nobody with it"


def test_who_waits_for_a_save_waits_for_no_copy(tmp_path: Path) -> None:
    seen: list[Snapshot] = []

    def save(_request: SaveRequest, snapshot: Snapshot) -> Path:
        seen.append(snapshot)
        return tmp_path

    writer, weights = Writer(save, background=True), torch.zeros(9)
    writer.write(SaveRequest(1, None, True), capture_state({"w": {"w": weights}}, copy=False), time.monotonic())
    (result,) = writer.drain()
    assert result.path == tmp_path
    assert seen[0].tensors["w/w"].data_ptr() == weights.data_ptr()
    writer.close()


def test_who_waits_for_a_save_waits_for_no_buffer_of_later_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = threading.Event()

    def endless(_self: Buffer, _like: Any, wanted: Callable[[], bool]) -> None:
        begun.set()
        end = time.monotonic() + 60
        while wanted():
            assert time.monotonic() < end, "it was still wanted after a minute"
            time.sleep(0.001)

    monkeypatch.setattr(Buffer, "prepare", endless)
    writer = Writer(lambda _request, _: tmp_path, background=True)
    live = capture_state({"model": {"weights": torch.zeros(9)}}, copy=False)
    writer.prepare(live)
    assert begun.wait(60)
    asked = time.monotonic()
    writer.write(SaveRequest(1, None, False), live, asked)
    assert time.monotonic() - asked < 30
    writer.close()


def test_a_buffer_that_is_not_wanted_is_left_as_it_is() -> None:
    buffer, wanted = Buffer(), iter([True, False])
    buffer.prepare({"first": torch.ones(3), "second": torch.ones(3)}, lambda: next(wanted))
    assert list(buffer._tensors) == ["first"]


def test_the_loop_goes_on_while_a_save_hangs_and_newer_saves_supersede_waiting_ones(
    tmp_path: Path, uninterrupted: dict[str, bytes]
) -> None:
    files = Slow()

    def hook(run: Any, step: int) -> None:
        if step == 8:
            assert files.arrived.wait(20)  # step 7 is being written
        if step == 30:
            assert run.last_durable_step == 0
            files.gate.set()

    toy_training.train(tmp_path / "run", tmp_path / "export", files=files, hook=hook)
    assert toy_training.contents(tmp_path / "export") == uninterrupted
    assert of_event(tmp_path / "run", "checkpoint")[0] == 7
    assert {14, 21} <= set(of_event(tmp_path / "run", "checkpoint-superseded"))
    assert of_event(tmp_path / "run", "checkpoint")[-1] == toy_training.STEPS


def test_a_stop_while_a_save_is_running_finishes_it_and_saves_its_own_step(
    tmp_path: Path, uninterrupted: dict[str, bytes]
) -> None:
    files = Slow()

    def hook(run: Any, step: int) -> None:
        if step == 16:
            assert files.arrived.wait(20)
            run.stop.set("SIGTERM")
            threading.Timer(0.05, files.gate.set).start()

    with pytest.raises(Preempted):
        toy_training.train(tmp_path / "run", tmp_path / "export", files=files, hook=hook)
    assert of_event(tmp_path / "run", "checkpoint") == [7, 16]
    assert of_event(tmp_path / "run", "checkpoint-superseded") == [14]
    assert sorted(path.name for path in (tmp_path / "run" / "checkpoints").glob("step-*")) == [
        "step-00000007",
        "step-00000016",
    ]
    toy_training.train(tmp_path / "run", tmp_path / "export")
    assert toy_training.contents(tmp_path / "export") == uninterrupted


def test_a_stop_on_a_step_that_is_being_saved_does_not_save_it_twice(tmp_path: Path) -> None:
    def hook(run: Any, step: int) -> None:
        if step == 8:  # the save of step 7 may still be running; the stop is seen after step 8
            run.stop.set("SIGTERM")

    with pytest.raises(Preempted):
        toy_training.train(tmp_path / "run", tmp_path / "export", hook=hook, every=8)
    assert [path.name for path in (tmp_path / "run" / "checkpoints").glob("step-*")] == ["step-00000008"]


def test_a_snapshot_is_not_changed_by_the_steps_after_it(tmp_path: Path) -> None:
    """The race of pytorch #144657: the loop updates its tensors while the thread writes them."""
    store = CheckpointStore(tmp_path, keep=100)
    gate = threading.Event()

    def save(request: SaveRequest, snapshot: Snapshot) -> Path:
        assert gate.wait(20)
        return store.save(request.step, snapshot, "a" * 64, request.journal, request.pinned)

    writer = Writer(save, background=True)
    weights = torch.zeros(1000)
    cursor = {"at": [0]}
    for step in (1, 2):
        weights.fill_(step)
        cursor["at"][0] = step
        writer.submit(
            SaveRequest(step, None, False), capture_state({"w": {"w": weights}, "c": cursor}, copy=False), 0.0
        )
        if step == 1:
            while writer._waiting:
                time.sleep(0.001)
    weights.fill_(99)
    cursor["at"][0] = 99
    gate.set()
    assert [result.error for result in writer.drain()] == [None, None]
    writer.close()
    for step in (1, 2):
        loaded = store.load(step, "a" * 64)
        assert torch.equal(loaded.state("w")["w"], torch.full((1000,), float(step)))
        assert loaded.state("c") == {"at": [step]}


def test_an_error_that_is_not_the_disk_is_raised_in_the_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_arguments: object) -> Path:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(CheckpointStore, "save", broken)
    with pytest.raises(ZeroDivisionError):
        toy_training.train(tmp_path / "run", tmp_path / "export")


def test_the_folder_is_free_only_after_the_thread_has_ended(tmp_path: Path) -> None:
    def hook(_run: Any, step: int) -> None:
        if step == 9:
            raise RuntimeError("bug")

    with pytest.raises(RuntimeError, match="bug"):
        toy_training.train(tmp_path / "run", tmp_path / "export", hook=hook)
    assert not any(thread.name == "unbroken-writer" for thread in threading.enumerate())
    assert json.loads((tmp_path / "run" / "verdict.json").read_text())["step"] == 7


HANGING = """
from unbroken.preemption import StopFlag
stop = StopFlag.install(deadline=0.5)
import sys, threading, time
from pathlib import Path
import torch
from unbroken import Identity, Run
from unbroken.filesystem import FileSystem

hangs = threading.Event()

class Hanging(FileSystem):
    def sync(self, descriptor, path):
        if "step-00000003" in str(path):
            hangs.set()
            print("ready", flush=True)
            time.sleep(600)
        super().sync(descriptor, path)

state = {"c": {"w": torch.zeros(9)}}
with Run(Path(sys.argv[1]), identity=Identity({}), state=state, stop=stop, every=1, files=Hanging()) as run:
    for step in run.steps(10**6):
        while run.last_durable_step < step - 1 and step < 4: time.sleep(0.001)
        if step == 4: hangs.wait()  # or a later save would take the place of that one on a busy machine
        time.sleep(0.005)
"""


def test_the_watchdog_ends_a_process_whose_save_hangs(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", HANGING, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process:
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        begun = time.monotonic()
        assert process.wait(20) == 75
        assert time.monotonic() - begun < 5
    assert json.loads((tmp_path / "verdict.json").read_text()) == {"exit": 75, "signal": "SIGTERM", "step": 2}
    store = CheckpointStore(tmp_path / "checkpoints")
    identity = json.loads((tmp_path / "checkpoints" / "step-00000002" / "manifest.json").read_text())["identity"]
    assert store.steps() == [1, 2]
    assert store.load(2, identity).step == 2


def test_a_full_disk_in_the_background_costs_that_save_only(tmp_path: Path, uninterrupted: dict[str, bytes]) -> None:
    failed = threading.Event()

    class Full(toy_training.Unsynced):
        def call(self, name: str, path: Path, action: Callable[[], T]) -> T:
            if name == "reserve" and "step-00000007" in str(path):
                failed.set()
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
            return action()

    def hook(_run: Any, step: int) -> None:
        if step == 8:
            assert failed.wait(20)

    reports = toy_training.train(tmp_path / "run", tmp_path / "export", files=Full(), hook=hook)
    assert toy_training.contents(tmp_path / "export") == uninterrupted
    assert any("ENOSPC" in report and "goes on without this checkpoint" in report for report in reports)
    assert of_event(tmp_path / "run", "checkpoint-failed") == [7]


def test_auto_saves_as_often_as_pays(tmp_path: Path, uninterrupted: dict[str, bytes]) -> None:
    now = 0.0
    auto = YoungDalySchedule(per_hour=1.0, clock=lambda: now)
    assert auto.is_due(1), "the first save measures the cost"
    auto.record_cost(SaveResult(SaveRequest(1, None, False), Path(), blocked=0.5, seconds=2.0))
    assert auto.interval == pytest.approx(60.0)  # sqrt(2 x 0.5 x 3600)
    now = 59.0
    assert not auto.is_due(2)
    now = 61.0
    assert auto.is_due(3)
    auto.record_cost(SaveResult(SaveRequest(3, None, False), Path(), blocked=0.0001, seconds=90.0))
    assert auto.interval == 90.0, "never faster than the disk"
    toy_training.train(tmp_path / "run", tmp_path / "export", every="auto")
    assert toy_training.contents(tmp_path / "export") == uninterrupted
    assert of_event(tmp_path / "run", "checkpoint")[0] == 1


def test_the_interval_is_the_one_that_loses_least() -> None:
    cost, between = 0.7, 1800.0

    def lost(seconds: float) -> float:
        return cost / seconds + seconds / 2 / between

    best = young_daly_interval(cost, between)
    assert lost(best) < min(lost(best * 1.05), lost(best / 1.05))


def test_the_rate_is_read_from_the_history() -> None:
    assert interruptions_per_hour([]) == 0.25
    lives = [
        {"restart": life, "time": f"2026-01-0{life + 1}T0{hour}:00:00.000+00:00", "event": event, **extra}
        for life in range(3)
        for hour, event, extra in [
            (0, "start", {}),
            (4, "end", {"verdict": "preempted" if life < 2 else "finished"}),
        ]
    ]
    assert interruptions_per_hour(lives) == (1 + 2) / (4 + 12)
    backwards = [
        {"restart": 0, "time": "2026-01-02T00:00:00+00:00"},
        {"restart": 0, "time": "2026-01-01T00:00:00+00:00"},
    ]
    assert interruptions_per_hour(backwards) == 2 / 4


@pytest.mark.parametrize("every", [0, -1, 2.5, True, "often"])
def test_a_senseless_interval_is_refused(every: Any) -> None:
    with pytest.raises(ValueError, match="every must be at least 1, or 'auto'"):
        FixedSchedule(every)


@pytest.mark.parametrize("rate", [0.0, -1.0, float("inf"), float("nan")])
def test_a_senseless_rate_is_refused(rate: float) -> None:
    with pytest.raises(ValueError, match="preemptions_per_hour must be above 0"):
        YoungDalySchedule(rate)


def test_a_damaged_stop_save_costs_the_steps_since_the_one_before(
    tmp_path: Path, uninterrupted: dict[str, bytes]
) -> None:
    """It is not read back, as the grace period is short; so nothing is removed for it, and the next start finds out."""

    class Lying(toy_training.Unsynced):
        def write(self, descriptor: int, path: Path, data: bytes | bytearray | memoryview) -> int:
            if "step-00000030" in str(path) and path.name == "tensors.safetensors" and len(data) > 100:
                data = b"\0" * len(data)
            return super().write(descriptor, path, data)

    options: dict[str, Any] = {"files": Lying(), "background": False, "keep": 1}
    with pytest.raises(Preempted):
        toy_training.train(tmp_path / "run", tmp_path / "export", hook=toy_training.stop_at(30), **options)
    steps = sorted(path.name for path in (tmp_path / "run" / "checkpoints").glob("step-*"))
    assert steps == ["step-00000028", "step-00000030"]
    reports = toy_training.train(tmp_path / "run", tmp_path / "export")
    assert "bad-step-00000030" in reports[0]
    assert "Going on from step 28" in reports[1]
    assert toy_training.contents(tmp_path / "export") == uninterrupted
