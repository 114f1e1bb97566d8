"""What the writing thread cannot do reaches the loop as a sentence: nothing hangs, and the run is saved without it."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.support import toy_training
from unbroken.checkpoint import buffers
from unbroken.checkpoint.buffers import Buffer
from unbroken.checkpoint.state import Snapshot, capture_state
from unbroken.checkpoint.store import CheckpointStore
from unbroken.checkpoint.tensorfile import DTYPES
from unbroken.checkpoint.writer import SaveRequest, Writer
from unbroken.errors import CheckpointError, UnbrokenError
from unbroken.preemption import Preempted, StopFlag
from unbroken.run import Run
from unbroken.run_folder.identity import Identity

ALL_DTYPES = sorted({value for value in vars(torch).values() if isinstance(value, torch.dtype)}, key=str)
UNKNOWN_DTYPES = [dtype for dtype in ALL_DTYPES if dtype not in DTYPES.values()]


@pytest.fixture(autouse=True)
def no_test_hangs() -> Iterator[None]:
    with ends_within(60):
        yield


@contextmanager
def ends_within(seconds: int) -> Iterator[None]:
    def fail(*_: object) -> None:
        raise AssertionError(f"it still waits after {seconds} s")

    before = signal.signal(signal.SIGALRM, fail)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def empty(dtype: torch.dtype) -> torch.Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some dtypes say that they are experimental
        return torch.empty(2, dtype=dtype)


def advance(folder: Path, state: dict[str, Any], step: Callable[[int], object], **options: Any) -> list[str]:
    reports: list[str] = []
    settings = {"every": 2, "report": reports.append, "files": toy_training.Unsynced(), **options}
    with Run(folder, identity=Identity({}), state=state, stop=StopFlag(), **settings) as run:
        for number in run.steps(6):
            step(number)
    return reports


def verdict_of(folder: Path) -> tuple[int, int]:
    verdict = json.loads((folder / "verdict.json").read_text())
    return verdict["exit"], verdict["step"]


@pytest.mark.parametrize("dtype", UNKNOWN_DTYPES, ids=str)
def test_a_dtype_that_cannot_be_stored_is_refused_before_the_first_step(dtype: torch.dtype, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"(?s)\bbox/inner\b.*Next: "):
        advance(tmp_path, {"box": {"inner": empty(dtype)}}, lambda _: pytest.fail("a step was done"))


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=str)
def test_every_dtype_that_the_format_has_is_saved_and_comes_back(dtype: torch.dtype, tmp_path: Path) -> None:
    tensor = torch.arange(48, dtype=torch.uint8).view(dtype) if dtype != torch.bool else torch.tensor([True, False])
    snapshot = capture_state({"box": {"x": tensor, "empty": tensor[:0]}})
    store = CheckpointStore(tmp_path, files=toy_training.Unsynced())
    store.save(1, snapshot, "a" * 64)
    found = store.latest_good("a" * 64)
    assert found is not None
    assert torch.equal(found.state("box")["x"].view(torch.uint8), tensor.view(torch.uint8))


@pytest.mark.parametrize(
    "value",
    [np.zeros(2, dtype=">f4"), np.zeros(2, dtype="complex128"), np.zeros(2, dtype="M8[s]"), np.array(["a"]),
     np.complex128(1), np.zeros(2, dtype=np.longdouble), torch.ones(2, 2).to_sparse()],
    ids=repr,
)  # fmt: skip
def test_other_values_without_a_dtype_of_the_format_are_refused_by_place(value: Any) -> None:
    with pytest.raises(CheckpointError, match=r"box/inner\b.*Next: "):
        capture_state({"box": {"inner": value}})


@pytest.mark.parametrize("background", [True, False])
def test_a_dtype_that_comes_up_in_the_loop_is_an_error_of_the_step(tmp_path: Path, background: bool) -> None:
    box = {"x": torch.zeros(3)}

    def step(number: int) -> None:
        if number == 3:
            box["x"] = box["x"].to(torch.complex128)

    with pytest.raises(CheckpointError, match=r"Tensor box/x has dtype torch\.complex128"):
        advance(tmp_path, {"box": box}, step, background=background)
    assert verdict_of(tmp_path) == (1, 2)


def refuse_memory(*_: Any, **__: Any) -> torch.Tensor:
    raise RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory")


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("CUDA error: cudaHostAlloc failed\nmore")], ids=repr)
@pytest.mark.parametrize("fails_at", [1, 5])
def test_without_memory_for_buffers_it_saves_without_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uninterrupted: dict[str, bytes], error: Exception, fails_at: int
) -> None:
    real, calls = torch.empty, iter(range(1, 1_000_000))

    class Refusing:
        def __getattr__(self, name: str) -> Any:
            return getattr(torch, name)

        def empty(self, *size: Any, **options: Any) -> torch.Tensor:
            if next(calls) >= fails_at:
                raise error
            return real(*size, **options)

    monkeypatch.setattr(buffers, "torch", Refusing())
    reports = toy_training.train(tmp_path / "run", tmp_path / "export")
    assert toy_training.contents(tmp_path / "export") == uninterrupted
    said = [sentence for sentence in reports if "no longer written beside the loop" in sentence]
    assert len(said) == 1
    assert "no memory for a copy of the state" in said[0]


def test_memory_that_is_missing_while_a_copy_is_written_costs_that_save_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uninterrupted: dict[str, bytes]
) -> None:
    real = CheckpointStore.save

    def save(store: CheckpointStore, *arguments: Any) -> Path:
        if threading.current_thread().name == "unbroken-writer":
            refuse_memory()
        return real(store, *arguments)

    monkeypatch.setattr(CheckpointStore, "save", save)
    reports = toy_training.train(tmp_path / "run", tmp_path / "export")
    assert toy_training.contents(tmp_path / "export") == uninterrupted
    assert sum("no longer written beside the loop" in sentence for sentence in reports) == 1


def test_without_a_thread_it_saves_in_the_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uninterrupted: dict[str, bytes]
) -> None:
    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    reports = toy_training.train(tmp_path / "run", tmp_path / "export")
    assert toy_training.contents(tmp_path / "export") == uninterrupted
    assert sum("can't start new thread" in sentence for sentence in reports) == 1


def die(*_: Any, **__: Any) -> None:
    raise SystemExit("out of order")


def wait_for_death(_run: Run, _step: int) -> None:
    for thread in threading.enumerate():
        if thread.name == "unbroken-writer":
            thread.join(0.1)


def test_what_ends_the_thread_is_an_error_of_the_next_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Buffer, "prepare", die)
    with pytest.raises(UnbrokenError, match=r"The thread that writes checkpoints ended with SystemExit: out of order"):
        toy_training.train(tmp_path / "run", tmp_path / "export", hook=wait_for_death)
    assert verdict_of(tmp_path / "run") == (1, 0)


def test_a_stop_is_saved_although_the_thread_has_died(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uninterrupted: dict[str, bytes]
) -> None:
    real, stopped = CheckpointStore.save, threading.Event()

    def save(store: CheckpointStore, *arguments: Any) -> Path:
        if threading.current_thread().name == "unbroken-writer":
            assert stopped.wait(20)
            die()
        return real(store, *arguments)

    def stop_after_seven(run: Run, step: int) -> None:
        if step == 8:
            run.stop.set("SIGTERM")
            threading.Timer(0.5, stopped.set).start()  # the stop waits for the thread by then

    monkeypatch.setattr(CheckpointStore, "save", save)
    with pytest.raises(Preempted):
        toy_training.train(tmp_path / "run", tmp_path / "export", hook=stop_after_seven)
    assert [path.name for path in (tmp_path / "run" / "checkpoints").glob("step-*")] == ["step-00000008"]
    toy_training.train(tmp_path / "run", tmp_path / "export", background=False)
    assert toy_training.contents(tmp_path / "export") == uninterrupted


def dying_writer(tmp_path: Path) -> Writer:
    def save(request: SaveRequest, _snapshot: Snapshot) -> Path:
        if request.step == 1:
            die()
        return tmp_path

    return Writer(save, background=True)


def live_state() -> Snapshot:
    return capture_state({"w": {"w": torch.zeros(3)}}, copy=False)


def test_nobody_waits_for_a_thread_that_has_died(tmp_path: Path) -> None:
    writer = dying_writer(tmp_path)
    writer.submit(SaveRequest(1, None, False), live_state(), 0.0)
    writer.drain()
    assert "SystemExit: out of order" in (writer.take_refusal() or "")
    assert writer.take_refusal() is None
    for step in (2, 3):
        writer.submit(SaveRequest(step, None, False), live_state(), 0.0)
    writer.write(SaveRequest(4, None, False), live_state(), 0.0)
    assert [result.request.step for result in writer.drain() if result.path] == [2, 3, 4]
    writer.close()


def test_a_forked_child_does_not_wait_for_the_thread_of_its_parent(tmp_path: Path) -> None:
    gate, inside = threading.Event(), threading.Event()

    def save(_request: SaveRequest, _snapshot: Snapshot) -> Path:
        inside.set()
        assert gate.wait(60)
        return tmp_path

    writer = Writer(save, background=True)
    writer.submit(SaveRequest(1, None, False), live_state(), 0.0)
    assert inside.wait(20)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        writer.drain()
        os._exit(0 if "did not come back" in (writer.take_refusal() or "") else 1)
    begun = time.monotonic()
    while (ended := os.waitpid(pid, os.WNOHANG))[0] == 0 and time.monotonic() - begun < 30:
        time.sleep(0.05)
    if ended[0] == 0:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    gate.set()
    writer.close()
    assert ended == (pid, 0)
