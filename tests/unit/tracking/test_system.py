"""System metrics: on, with a GPU and without, resumed without a step twice, and no burden at the end."""

from __future__ import annotations

import logging
import threading
import time
from types import SimpleNamespace

import pytest

from latentwire.tracking import mirror as mirrors
from latentwire.tracking.mirror import MlflowMirror
from latentwire.tracking.store import locate_store
from latentwire.tracking.system import SystemMetrics
from tests.support.mlflow_database import ITEM, Database


def measure(database: Database, points: int, seconds: float = 0.02) -> float:
    """Run the monitor until it has logged `points` more steps; return the seconds that stopping took."""
    monitor = SystemMetrics(ITEM.open(locate_store(database.root), "toy", print), seconds=seconds)
    monitor.ensure_running()
    wanted = steps(database) + points
    deadline = time.monotonic() + 60
    while steps(database) < wanted:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    began = time.monotonic()
    monitor.stop()
    return time.monotonic() - began


def steps(database: Database) -> int:
    return len({step for _, step, _ in database.points(system=True)})


def test_measured_and_resumed_without_a_step_twice(database: Database, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    assert measure(database, 3) < 2
    assert measure(database, 3) < 2
    points = database.points(system=True)
    keys = {key for key, _, _ in points}
    assert {"system/cpu_utilization_percentage", "system/system_memory_usage_megabytes"} <= keys
    assert len({(key, step) for key, step, _ in points}) == len(points)
    assert {step for _, step, _ in points} == set(range(steps(database)))
    assert caplog.records == []


def test_the_first_reading_of_the_cpu_is_a_reading(database: Database) -> None:
    """psutil's first answer in a new thread is 0 % whatever the CPU does."""
    over = threading.Event()
    busy = threading.Thread(target=lambda: [None for _ in iter(over.is_set, True)])
    busy.start()
    measure(database, 1, seconds=0.3)
    over.set()
    busy.join()
    assert database.rows("select value > 5 from metrics where key like '%cpu%' and step = 0") == [(1,)]


def test_started_again_after_mlflow_was_away(database: Database) -> None:
    """MLflow's monitor ends for good at the first failed request, and would start from step 0."""
    run = ITEM.open(locate_store(database.root), "toy", print)
    monitor = SystemMetrics(run, seconds=0.02)
    monitor.ensure_running()
    while not steps(database):
        time.sleep(0.02)
    run.close("SCHEDULED")  # the monitor stops when the run is not running
    ended = monitor._monitor
    ended._process.join(10)
    before = steps(database)
    run.resume()
    monitor.ensure_running()
    assert monitor._monitor is not ended
    while steps(database) < before + 2:
        time.sleep(0.02)
    monitor.stop()
    points = database.points(system=True)
    assert len({(key, step) for key, step, _ in points}) == len(points)


def test_gpus_are_measured_where_there_are_some(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    import pynvml

    fakes = {
        "nvmlInit": lambda: None,
        "nvmlDeviceGetCount": lambda: 1,
        "nvmlDeviceGetHandleByIndex": lambda index: index,
        "nvmlDeviceGetMemoryInfo": lambda handle: SimpleNamespace(used=4e9, total=8e9),
        "nvmlDeviceGetUtilizationRates": lambda handle: SimpleNamespace(gpu=90),
        "nvmlDeviceGetPowerUsage": lambda handle: 300_000,
        "nvmlDeviceGetEnforcedPowerLimit": lambda handle: 600_000,
    }
    for name, fake in fakes.items():
        monkeypatch.setattr(pynvml, name, fake)
    measure(database, 1)
    gpu = {key: value for key, _, value in database.points(system=True) if "gpu" in key}
    assert gpu["system/gpu_0_utilization_percentage"] == 90
    assert gpu["system/gpu_0_memory_usage_percentage"] == 50
    assert gpu["system/gpu_0_power_usage_watts"] == 300


def test_a_machine_that_cannot_be_measured_costs_the_system_metrics_only(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(run: object) -> None:
        raise RuntimeError("no /proc")

    monkeypatch.setattr(mirrors, "SystemMetrics", broken)
    said: list[str] = []
    mirror = MlflowMirror(ITEM, experiment="toy", root=database.root, report=said.append)
    mirror.started(0)
    mirror.committed(1, [{"step": 1, "loss": 0.5}])
    mirror.ended("finished")
    assert database.points() == [("loss", 1, 0.5)]
    assert database.runs() == [(ITEM.name, "FINISHED")]
    [sentence] = said
    assert "no /proc" in sentence
