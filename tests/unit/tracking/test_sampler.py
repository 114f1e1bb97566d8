"""Readings of the machine: what is there, what fails and is said once, and that no training waits for them."""

from __future__ import annotations

import errno
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import psutil
import pynvml
import pytest

from latentwire.tracking.mirror import MlflowMirror
from latentwire.tracking.readings import PARTS, READINGS_FILE, SHORT, Reading, read_readings
from latentwire.tracking.runs import TrackedItem
from latentwire.tracking.sampler import Sampler, find_own_folder
from tests.support.fake_nvml import LOST, UNKNOWN, FakeCard, FakeNvml, error
from unbroken.filesystem import FileSystem
from unbroken.preemption import StopFlag
from unbroken.run import Run
from unbroken.run_folder.identity import Identity
from unbroken.run_folder.journal import encode_record
from unbroken.run_folder.lock import FolderLock

IDENTITY = Identity({"toy": 1})
ITEM = TrackedItem("wire-r8-0", IDENTITY.digest, params={"runtime": {"device": "cpu"}})
GPU_ITEM = TrackedItem("wire-r8-0", IDENTITY.digest, params={"runtime": {"device": "cuda"}})
T = TypeVar("T")
Sampled = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """The run folder of an item that this process trains, at step 7."""
    path = tmp_path / "state" / f"{ITEM.name}-{IDENTITY.short}"
    path.mkdir(parents=True)
    (path / "journal.jsonl").write_bytes(b"".join(encode_record(step, {"train/loss": 1.0}) for step in range(1, 8)))
    lock = FolderLock(path, 0)
    yield path
    lock.release()


def lines_of(folder: Path) -> list[dict[str, Any]]:
    path = folder / READINGS_FILE
    return [json.loads(line) for line in path.read_bytes().splitlines()] if path.exists() else []


class Sampling:
    """A sampler that looks all the time, what it said, and what it wrote."""

    def __init__(self, folder: Path, item: TrackedItem = ITEM, files: FileSystem | None = None) -> None:
        self.said: list[str] = []
        self.folder = folder
        self.sampler = Sampler(item, folder, self.said.append, pause=0.01, files=files)
        self.sampler.start()

    def wait_for(self, more: int) -> list[dict[str, Any]]:
        """What was written since, once it is so many readings."""
        before, deadline = len(lines_of(self.folder)), time.monotonic() + 60
        while len(lines_of(self.folder)) < before + more:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        return lines_of(self.folder)[before:]

    def close(self) -> list[dict[str, Any]]:
        """End it; all readings."""
        self.sampler.close()
        self.sampler.join(60)
        return lines_of(self.folder)


def test_what_is_measured(folder: Path) -> None:
    sampling = Sampling(folder)
    sampling.wait_for(3)
    first, *others = sampling.close()
    assert sampling.said == []
    assert first["cpu"] is None
    for reading in others:
        assert 0 <= reading["cpu"] <= 100
        assert 0 < reading["memory_used"] < reading["memory_total"] <= psutil.virtual_memory().total
        assert 0 <= reading["disk_free"] < reading["disk_total"]
        assert (reading["host"], reading["pid"], reading["step"]) == (socket.gethostname(), os.getpid(), 7)
        assert (reading["gpus"], reading["problems"]) == ([], [])
    uptimes = [reading["uptime"] for reading in (first, *others)]
    assert uptimes == sorted(uptimes)
    assert [json.loads(json.dumps(asdict(reading))) for reading in read_readings(folder)] == [
        first,
        *others,
    ]


def test_the_gpus_that_the_process_sees_and_no_others(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    FakeNvml([FakeCard("GPU-a", busy=1), FakeCard("GPU-b", busy=90)]).install(monkeypatch)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-b")
    sampling = Sampling(folder, GPU_ITEM)
    sampling.wait_for(1)
    assert {card["uuid"]: card["busy"] for card in sampling.close()[0]["gpus"]} == {"GPU-b": 90}
    assert sampling.said == []


def test_a_training_on_processors_looks_at_no_gpu(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    FakeNvml([FakeCard("GPU-a")]).install(monkeypatch)
    sampling = Sampling(folder)
    sampling.wait_for(2)
    assert [reading["gpus"] for reading in sampling.close()] == [[]] * len(lines_of(folder))


def test_without_nvml_the_rest_is_measured_and_it_is_said_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    FakeNvml([]).install(monkeypatch).missing = pynvml.NVML_ERROR_LIBRARY_NOT_FOUND
    sampling = Sampling(folder, GPU_ITEM)
    sampling.wait_for(5)
    *_, last = sampling.close()
    assert (last["gpus"], last["problems"]) == ([], ["The GPU is not measured: NVML Shared Library Not Found"])
    assert last["memory_used"] > 0
    [sentence] = sampling.said
    assert sentence == (
        "'wire-r8-0': The GPU is not measured for now, and the training goes on without: NVML Shared Library Not Found."
    )


def test_nvml_that_fails_midway_costs_its_readings_and_comes_back(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    nvml = FakeNvml([FakeCard("GPU-a"), FakeCard("GPU-b")]).install(monkeypatch)
    sampling = Sampling(folder, GPU_ITEM)
    sampling.wait_for(2)
    nvml.cards[0].busy = nvml.cards[0].milliwatts = error(LOST)
    lost = sampling.wait_for(4)[-1]["gpus"]
    assert [(card["busy"], card["power"], card["temperature"]) for card in lost] == [(None, None, 61), (93, 301.5, 61)]
    nvml.missing = UNKNOWN
    assert sampling.wait_for(4)[-1]["gpus"] == []
    nvml.cards[0].busy, nvml.missing = 12, None
    assert sampling.wait_for(4)[-1]["gpus"][0]["busy"] == 12
    sampling.close()
    assert len(sampling.said) == 1
    assert "GPU is lost" in sampling.said[0]


class FullDisk(FileSystem):
    """Refuses while it is full."""

    full = True

    def call(self, name: str, path: Path, action: Callable[[], T]) -> T:
        if self.full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return action()


def test_a_full_disk_costs_readings_and_is_said_once(folder: Path) -> None:
    disk = FullDisk()
    sampling = Sampling(folder, files=disk)
    deadline = time.monotonic() + 60
    while not sampling.said and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.1)
    disk.full = False
    assert sampling.wait_for(2)
    sampling.close()
    [sentence] = sampling.said
    assert "The readings are not written" in sentence
    assert "No space left on device" in sentence
    assert lines_of(folder)[0]["problems"][0].startswith("The readings are not written")


def test_whatever_cannot_be_measured_is_missing_and_said_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("no /proc")

    for name in ("cpu_percent", "virtual_memory"):
        monkeypatch.setattr(psutil, name, broken)
    monkeypatch.setattr("latentwire.tracking.sampler.shutil.disk_usage", broken)
    sampling = Sampling(folder)
    sampling.wait_for(4)
    *_, last = sampling.close()
    assert [last[name] for name in ("cpu", "memory_used", "memory_total", "disk_free", "disk_total")] == [None] * 5
    assert last["step"] == 7
    assert len(sampling.said) == len(set(sampling.said)) == 3


def test_a_driver_that_hangs_holds_nobody(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, answer = threading.Event(), threading.Event()

    def hang(card: object) -> None:
        asked.set()
        answer.wait()

    FakeNvml([FakeCard("GPU-a")]).install(monkeypatch)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetPowerUsage", hang)
    sampling = Sampling(folder, GPU_ITEM)
    assert asked.wait(60)
    sampling.sampler.close()
    assert sampling.sampler.is_alive()
    answer.set()
    sampling.sampler.join(60)


def test_only_the_process_that_trains_in_a_folder_writes_there(folder: Path, tmp_path: Path) -> None:
    assert find_own_folder(tmp_path, ITEM) == folder
    assert find_own_folder(tmp_path, TrackedItem("wire-r8-0", "b" * 64)) is None
    sampling = Sampling(folder)
    sampling.wait_for(1)
    for holder in ({"pid": 1, "host": socket.gethostname()}, {"pid": os.getpid(), "host": "elsewhere"}):
        (folder / "lock").write_text(json.dumps(holder))
        assert find_own_folder(tmp_path, ITEM) is None
    time.sleep(0.1)  # a look that was under way
    before = len(lines_of(folder))
    time.sleep(0.2)
    assert len(sampling.close()) == before


class Cursor:
    """A state that never changes."""

    def state_dict(self) -> dict[str, int]:
        return {}

    def load_state_dict(self, state: dict[str, int]) -> None:
        assert not state


def test_a_run_has_readings_with_mlflow_out_of_reach(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    said: list[str] = []
    mirror = MlflowMirror(ITEM, experiment="toy", root=tmp_path, system_metrics=False, timeout=0.1, report=said.append)
    place = tmp_path / "state" / f"{ITEM.name}-{IDENTITY.short}"
    stop = StopFlag.install()
    with Run(place, identity=IDENTITY, state={"cursor": Cursor()}, stop=stop, every=5, observers=[mirror]) as run:
        for _ in run.steps(12):
            run.log(**{"train/loss": 0.5})
    readings = read_readings(place)
    assert readings[-1].step == 12
    assert {reading.pid for reading in readings} == {os.getpid()}
    assert [sentence for sentence in said if "not measured" in sentence] == []


READING = {"time": "2026-01-01T00:00:00.000+00:00", "uptime": 5.0, "host": "a", "pid": 1}


def test_lines_that_are_no_readings_are_left_out(tmp_path: Path) -> None:
    good = json.dumps(READING).encode()
    (tmp_path / READINGS_FILE).write_bytes(
        b"\n".join(
            [
                good,
                good[:40],
                b"\0" * 30,
                b"[]",
                b'{"time": 5}',
                json.dumps({**READING, "time": "yesterday"}).encode(),
                json.dumps({**READING, "uptime": None}).encode(),
                json.dumps({**READING, "gpus": [{"name": "X"}]}).encode(),
                json.dumps({**READING, "of a newer version": 1}).encode(),
                good,
                good[:50],
            ]
        )
    )
    assert read_readings(tmp_path) == [Reading(**READING)] * 2  # type: ignore[arg-type]
    assert read_readings(tmp_path / "nowhere") == []


@pytest.mark.parametrize("count", [SHORT // 100, SHORT // 80, SHORT // 10])
def test_of_many_readings_the_newest_are_all_there_and_some_older_ones(tmp_path: Path, count: int) -> None:
    lines = [json.dumps({**READING, "uptime": float(place)}).encode() + b"\n" for place in range(count)]
    (tmp_path / READINGS_FILE).write_bytes(b"".join(lines))
    places = [int(reading.uptime) for reading in read_readings(tmp_path)]
    assert places == sorted(set(places))
    assert places[0] == 0
    whole = min(count, SHORT // len(lines[-1]) - 1)
    assert places[-whole:] == list(range(count - whole, count))
    assert len(places) <= SHORT // len(lines[0]) + PARTS + 1
