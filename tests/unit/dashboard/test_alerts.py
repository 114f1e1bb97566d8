"""Each alert comes when it should, and not a moment before."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from latentwire.dashboard.alerts import find_alerts
from latentwire.dashboard.facts import Disk, Facts, ItemFacts
from latentwire.nvml import Gpu
from latentwire.status import ItemStatus
from latentwire.tracking.readings import Reading

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
GIB = 2**30


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


RUNNING = ItemStatus(
    "wire-r8-0", 50, 40, 1, "running", 50.0, pace=1.0, saved=ago(60), started=ago(3000), quiet=1.0, save_gap=100.0
)


def alerts(status: ItemStatus = RUNNING, readings: list[Reading] | None = None, **facts: Any) -> dict[str, str]:
    """Kind → text."""
    item = ItemFacts("0123456789ab", status, 100, readings=readings or [], checkpoint_bytes=facts.pop("checkpoint", 0))
    known = {"disk": Disk(500 * GIB, 1000 * GIB), "every": "auto", **facts}
    found = find_alerts(Facts(NOW, "here", 100, items=[item], **known))
    assert len({alert.kind for alert in found}) == len(found)
    return {alert.kind: alert.text for alert in found}


def test_a_training_that_goes_well() -> None:
    assert alerts() == {}


@pytest.mark.parametrize(
    ("pace", "quiet", "stalls"),
    [(1.0, 299.0, False), (1.0, 301.0, True), (0.01, 999.0, False), (0.01, 1001.0, True), (100.0, 301.0, True)],
)
def test_a_stall_is_long_for_this_training(pace: float, quiet: float, stalls: bool) -> None:
    found = alerts(replace(RUNNING, pace=pace, quiet=quiet))
    assert ("stall" in found) is stalls
    assert alerts(replace(RUNNING, verdict="killed", pace=pace, quiet=quiet)) == {}


def test_a_stall_says_since_when() -> None:
    assert alerts(replace(RUNNING, pace=2.0, quiet=3661.0))["stall"] == (
        "The last step was done 1:01:01 ago; one took 0.5 s before."
    )


def test_a_start_without_a_step() -> None:
    loading = replace(RUNNING, pace=None, quiet=None, saved=None)
    assert alerts(replace(loading, started=ago(800))) == {}
    assert alerts(replace(loading, started=ago(1000)))["stall"] == "No step since the start 0:16:40 ago."
    # After a requeue the journal is old, and the start is not.
    assert alerts(replace(loading, started=ago(100), quiet=90_000.0, saved=ago(90_000))) == {}


def test_after_the_last_step_nothing_stalls() -> None:
    assert alerts(replace(RUNNING, step=100, quiet=1000.0)) == {}


@pytest.mark.parametrize(
    ("every", "gap", "age", "late"),
    [
        ("auto", 100.0, 890.0, False),
        ("auto", 100.0, 910.0, True),
        ("auto", 600.0, 1790.0, False),
        ("auto", 600.0, 1810.0, True),
        ("auto", None, 2900.0, False),
        (10, 100.0, 910.0, True),
        (1000, 100.0, 2900.0, False),
    ],
)
def test_a_late_checkpoint(every: int | str, gap: float | None, age: float, late: bool) -> None:
    found = alerts(replace(RUNNING, save_gap=gap, saved=ago(age)), every=every)
    assert ("checkpoint" in found) is late
    assert "checkpoint" not in alerts(replace(RUNNING, save_gap=gap, saved=ago(age), started=ago(60)), every=every)


def test_a_checkpoint_that_never_came_and_a_clock_that_was_set_back() -> None:
    never = replace(RUNNING, saved=None, save_gap=None, started=ago(3700))
    assert alerts(never)["checkpoint"] == "No checkpoint for 1:01:40."
    assert alerts(replace(RUNNING, saved=ago(-7200), started=ago(-9000))) == {}


def test_a_loss_that_is_a_number_again() -> None:
    losses = [1.0, float("inf"), 0.5]
    records = [{"step": step, "train/loss": loss} for step, loss in enumerate(losses, start=1)]
    found = alerts(replace(RUNNING, records=records))
    assert found["number"] == "train/loss became inf at step 2 and is a number again."
    assert alerts(replace(RUNNING, records=[{"step": 1, "train/loss": 0.5, "train/other": float("nan")}])) == {}


def reading(uptime: float, *busy: int | None, pid: int = 1, **more: Any) -> Reading:
    cards = [Gpu("X", percent, None, None, f"GPU-{letter * 8}-1") for letter, percent in zip("ab", busy, strict=False)]
    return Reading(time="2026-01-01T11:00:00+00:00", uptime=uptime, host="here", pid=pid, gpus=cards, **more)


def test_a_gpu_that_waits() -> None:
    readings = [reading(10.0 * place, 95, 40) for place in range(100)]
    assert alerts(readings=readings)["gpu"] == "X GPU-bbbbbbbb was busy 40 % of the last 0:10:00, below 70 %."
    assert alerts(readings=[reading(10.0 * place, 70, 71) for place in range(100)]) == {}
    assert alerts(replace(RUNNING, verdict="finished"), readings=readings) == {}


def test_only_the_newest_minutes_of_the_newest_start_count_for_a_gpu() -> None:
    idle_before = [reading(10.0 * place, 5) for place in range(100)]
    starting = [reading(5000 + 10.0 * place, 0, pid=2) for place in range(6)]
    busy = [reading(5060 + 10.0 * place, 90, pid=2) for place in range(20)]
    assert alerts(readings=[*idle_before, *starting]) == {}
    assert alerts(readings=[*idle_before, *starting, *busy]) == {}
    slow_before = [reading(10.0 * place, 5) for place in range(200)]
    assert alerts(readings=[*slow_before, *(reading(2000 + 10.0 * place, 90) for place in range(100))]) == {}


def test_what_is_not_measured_is_not_low() -> None:
    assert alerts(readings=[reading(10.0 * place, None) for place in range(100)]) == {}
    assert alerts(readings=[reading(10.0 * place, None if place % 2 else 90) for place in range(100)]) == {}


def test_readings_that_are_missing_are_said_while_it_runs() -> None:
    problem = "The GPU is not measured: NVML Shared Library Not Found"
    readings = [reading(10.0, problems=(problem,))]
    assert alerts(readings=readings)["missing"] == f"{problem}."
    assert alerts(replace(RUNNING, verdict="finished"), readings=readings) == {}
    assert alerts(readings=[*readings, reading(20.0)]) == {}


@pytest.mark.parametrize(
    ("free", "total", "checkpoint", "full"),
    [
        (60 * GIB, 1000 * GIB, 0, False),
        (19 * GIB, 1000 * GIB, 0, True),
        (25 * GIB, 1000 * GIB, 0, False),
        (3 * GIB, 50 * GIB, 0, False),
        (2 * GIB, 50 * GIB, 0, True),
        (60 * GIB, 1000 * GIB, 21 * GIB, True),
        (0, 0, 0, False),
    ],
)
def test_a_disk_that_is_nearly_full(free: int, total: int, checkpoint: int, full: bool) -> None:
    found = alerts(disk=Disk(free, total), checkpoint=checkpoint)
    assert ("disk" in found) is full
    assert not full or f"{free / GIB:.2f} GiB of {total / GIB:.2f} GiB are free" in found["disk"]
    assert alerts(disk=None) == {}


def test_the_disk_of_the_host_that_trains() -> None:
    there = replace(reading(10.0, disk_free=GIB, disk_total=100 * GIB), host="node7")
    assert alerts(readings=[there])["disk"] == "Only 1.00 GiB of 100.00 GiB are free on node7."
    assert alerts(readings=[replace(there, disk_free=None)]) == {}
    assert alerts(replace(RUNNING, verdict="finished"), readings=[there]) == {}
