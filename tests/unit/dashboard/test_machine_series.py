"""Readings as curves: gaps, clocks that are set, cards that come and go."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from latentwire.dashboard.curves import join_segments, thin_points
from latentwire.dashboard.machine_series import MachineSeries, split_starts
from latentwire.nvml import Gpu
from latentwire.tracking.readings import Reading

FIRST = datetime(2026, 1, 1, tzinfo=UTC)


def reading(uptime: float, clock: float | None = None, pid: int = 1, host: str = "a", **more: Any) -> Reading:
    """A look at `uptime`, when the clock showed so many seconds after midnight."""
    moment = FIRST + timedelta(seconds=uptime if clock is None else clock)
    return Reading(time=moment.isoformat(), uptime=uptime, host=host, pid=pid, cpu=1.0, **more)


def times_of(readings: list[Reading]) -> list[list[str]]:
    """The times of day of the segments of a curve."""
    panel = MachineSeries(readings).panels()[0]
    return [[at[11:19] for at, _ in part] for part in panel.curves[0][1]]


def test_a_clock_that_is_set_back_while_it_runs_moves_no_point() -> None:
    readings = [reading(10.0, 10), reading(20.0, -3600), reading(30.0, 90_000)]
    assert times_of(readings) == [["00:00:10", "00:00:20", "00:00:30"]]


def test_nothing_is_drawn_between_two_starts_or_over_a_gap() -> None:
    assert times_of([reading(10.0), reading(20.0), reading(40.0, pid=2), reading(200.0, pid=2)]) == [
        ["00:00:10", "00:00:20"],
        ["00:00:40"],
        ["00:03:20"],
    ]


@pytest.mark.parametrize("more", [{"pid": 2}, {"host": "b"}, {"uptime": 3.0}])
def test_what_makes_another_start(more: dict[str, Any]) -> None:
    """Another process, another host, or a machine that was started anew and counts processes anew."""
    assert [len(start) for start in split_starts([reading(10.0), reading(**{"uptime": 20.0, **more})])] == [1, 1]


def test_a_card_that_is_not_seen_is_missing_for_that_time() -> None:
    def card(letter: str, busy: int) -> Gpu:
        return Gpu("X", busy, None, None, f"GPU-{letter * 8}-1")

    readings = [
        reading(10.0, gpus=(card("a", 1), card("b", 2))),
        reading(20.0, gpus=(card("b", 3),)),
        reading(30.0),
    ]
    (panel,) = [panel for panel in MachineSeries(readings).panels() if panel.name == "gpu"]
    values = {name: [value for part in parts for _, value in part] for name, parts in panel.curves}
    assert values == {"X GPU-aaaaaaaa": [1, None, None], "X GPU-bbbbbbbb": [2, 3, None]}


def test_power_of_an_instance_is_that_of_its_card_and_the_title_says_so() -> None:
    instance = Gpu("X MIG 1g.10gb", None, 2**30, 2**33, "MIG-1111", 300.0, 60)
    titles = {panel.name: panel.title for panel in MachineSeries([reading(1.0, gpus=(instance,))]).panels()}
    assert "gpu" not in titles
    assert titles["gpu-power"] == "GPU power, W (of the whole card)"
    assert titles["gpu-memory"] == "GPU memory, GiB"


def test_no_readings() -> None:
    assert (MachineSeries([]).panels(), MachineSeries([]).begin) == ([], None)


@pytest.mark.parametrize("count", [0, 1, 59, 60, 61, 1000, 99_999])
def test_few_points_with_the_ends_and_every_peak(count: int) -> None:
    points = [(place, float(place % 7)) for place in range(count)]
    if count > 10:
        points[count // 3], points[count // 2] = (count // 3, 99.0), (count // 2, -99.0)
    thin = thin_points(points, 60)
    assert len(thin) <= 60
    assert thin == sorted(set(thin))
    assert set(thin) <= set(points)
    assert (points[:1], points[-1:]) == (thin[:1], thin[-1:])
    assert count <= 10 or {(count // 3, 99.0), (count // 2, -99.0)} <= set(thin)


def test_points_without_a_value() -> None:
    points = [(place, None if place % 2 else 1.0) for place in range(1000)]
    thin = thin_points(points, 40)
    assert set(thin) <= set(points)
    assert thin_points([(place, None) for place in range(1000)], 40)[0] == (0, None)


def test_segments_have_a_gap_between_them() -> None:
    assert list(join_segments([[(1, 1.0)], [(2, 2.0), (3, 3.0)]])) == [(1, 1.0), (2, None), (2, 2.0), (3, 3.0)]
    assert list(join_segments([])) == []
