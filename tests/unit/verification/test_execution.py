"""The execution report: sessions from events, jobs from SLURM's accounting, utilisation from MLflow's points."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from latentwire.execution import report as appendix
from latentwire.execution import sacct, utilisation
from latentwire.execution.report import Execution
from latentwire.execution.sessions import Session, sessions_from_events, sum_sessions
from latentwire.execution.utilisation import ItemUtilisation

FOLDER = "wire-r8-0-4077aa040e43"


def event(second: int, name: str, restart: int, **facts: Any) -> dict[str, Any]:
    return {
        "time": f"2026-01-01T00:{second // 60:02}:{second % 60:02}+00:00",
        "event": name,
        "restart": restart,
        **facts,
    }


STORY = [
    event(0, "start", 0, step=0, host="node1", gpus=2),
    event(60, "checkpoint", 0, step=20),
    event(90, "end", 0, verdict="preempted", step=25),
    event(100, "start", 1, step=25, host="node2", gpus=1),
    event(160, "checkpoint", 1, step=40),
    event(200, "start", 2, step=40, host="node1", gpus=2),
    event(300, "end", 2, verdict="finished", step=64),
]
"""Preempted, then killed after a checkpoint, then finished."""


def test_a_run_is_read_as_its_sessions() -> None:
    found = sessions_from_events(FOLDER, STORY)
    assert [(one.item, one.identity) for one in found] == [("wire-r8-0", "4077aa040e43")] * 3
    assert [one.verdict for one in found] == ["preempted", "killed or running", "finished"]
    assert [(one.first_step, one.last_step) for one in found] == [(0, 25), (25, 40), (40, 64)]
    assert [round(one.hours * 3600) for one in found] == [90, 60, 100]


def test_totals_count_preemptions_kills_and_gpu_hours() -> None:
    (total,) = sum_sessions(sessions_from_events(FOLDER, STORY), {})
    assert (total.starts, total.preemptions, total.kills, total.steps, total.repeated) == (3, 1, 1, 64, 0)
    assert total.hours * 3600 == pytest.approx(250)
    assert total.gpu_hours is not None
    assert total.gpu_hours * 3600 == pytest.approx(2 * 90 + 60 + 2 * 100)


def test_processes_on_gpus_are_counted_by_device_and_images_are_named() -> None:
    story = [
        event(0, "start", 0, device="cuda", processes=4, image="ab" * 32),
        event(90, "end", 0, verdict="preempted", step=25),
        event(100, "start", 1, step=25, device="cpu", processes=2),
        event(190, "end", 1, verdict="finished", step=64),
    ]
    found = sessions_from_events(FOLDER, story)
    assert [(one.gpus, one.processes, one.image) for one in found] == [(4, 4, "ab" * 32), (0, 2, None)]
    (total,) = sum_sessions(found, {})
    assert total.gpu_hours is not None
    assert total.gpu_hours * 3600 == pytest.approx(4 * 90)
    written = "\n".join(appendix.format_appendix(execution(found, None, [])))
    assert "| 2 | 4 → 2 | 1 |" in written
    assert f"Image: {'ab' * 32}; not run from an image" in written
    assert "Not measured: `latentwire profile`" in written


def test_an_unknown_number_of_gpus_is_not_taken_for_none() -> None:
    story = [{key: value for key, value in one.items() if key != "gpus"} for one in STORY]
    assert sum_sessions(sessions_from_events(FOLDER, story), {})[0].gpu_hours is None
    (known,) = sum_sessions(sessions_from_events(FOLDER, story), {"wire-r8-0": 4})
    assert known.gpu_hours is not None
    assert known.gpu_hours * 3600 == pytest.approx(4 * 250)


def test_a_forced_exit_is_a_preemption_and_a_torn_start_is_left_out() -> None:
    story = [event(0, "checkpoint", 0, step=5), event(10, "start", 1, step=5), event(20, "forced-exit", 1, step=5)]
    assert [one.verdict for one in sessions_from_events(FOLDER, story)] == ["preempted"]


SACCT = """\
sacct: warning: something of this site
4711|latentwire|PREEMPTED|0:0|2026-01-01T00:00:00|2026-01-01T01:30:00|5400|billing=8,cpu=8,gres/gpu:l20=2,gres/gpu=2,mem=96G,node=1|gpu-07
4711|latentwire|COMPLETED|0:0|2026-01-01T02:00:00|2026-01-01T02:30:00|1800|billing=8,cpu=8,gres/gpu:a100=1,gres/gpu:l20=1,mem=96G,node=1|gpu-11
4712_3|latentwire|CANCELLED by 1000|0:15|Unknown|Unknown||cpu=4,mem=8G,node=1|None assigned
"""
"""In the form of `sacct --parsable2 --noheader --duplicates`: a job that was requeued has a line per run."""


def test_accounting_is_read() -> None:
    first, second, third = sacct.parse_jobs(SACCT)
    assert (first.id, first.state, first.seconds, first.gpus, first.cpus, first.nodes) == (
        "4711",
        "PREEMPTED",
        5400,
        2,
        8,
        "gpu-07",
    )
    assert first.gpu_hours == pytest.approx(3.0)
    assert second.gpus == 2
    assert (third.state, third.seconds, third.gpus, third.cpus) == ("CANCELLED", 0, 0, 4)
    assert (
        "| 4711 | PREEMPTED | 0:0 | 2026-01-01T00:00:00 | 2026-01-01T01:30:00 | 1.50 | 8 | 2 | gpu-07 |"
        in sacct.jobs_table([first])
    )


def test_the_call_of_sacct_asks_for_what_is_read() -> None:
    call = sacct.sacct_command("2026-01-01")
    assert call[0] == "sacct"
    assert "--duplicates" in call
    assert f"--format={','.join(sacct.FIELDS)}" in call


def test_points_far_apart_are_not_joined() -> None:
    joined = utilisation.insert_gaps([(0.0, 10.0), (5.0, 20.0), (500.0, 30.0)])
    assert [time for time, _ in joined] == [0.0, 5.0, 5.0, 500.0]
    assert math.isnan(joined[2][1])


@pytest.mark.parametrize(
    ("metric", "kind"),
    [
        ("system/gpu_0_utilization_percentage", "GPU"),
        ("system/gpu_13_memory_usage_percentage", "GPU memory"),
        ("system/cpu_utilization_percentage", "CPU"),
        ("system/gpu_0_power_usage_watts", None),
        ("train/loss", None),
    ],
)
def test_which_metrics_are_drawn(metric: str, kind: str | None) -> None:
    assert utilisation.metric_kind(metric) == kind


def measured() -> ItemUtilisation:
    begin = datetime(2026, 1, 1, tzinfo=UTC).timestamp()
    points = [(begin + 10 * second, float(second)) for second in range(30)]
    return ItemUtilisation("wire-r8-0", {"GPU": [points, points], "CPU": [points]}, 2)


def test_the_report_has_figure_preemptions_and_accounting(tmp_path: Path) -> None:
    found = sessions_from_events(FOLDER, STORY)
    whole = execution(found, sacct.parse_jobs(SACCT), [measured()])
    text, figure = appendix.write_execution(tmp_path, whole)
    assert figure.read_bytes().startswith(b"\x89PNG")
    written = text.read_text()
    assert "| wire-r8-0 | 4077aa040e43 | 3 | – | 1 | 1 | 64 | 0 | 0.069 | 0.122 | finished |" in written
    assert "3 runs of jobs, 4.00 GPU-hours as SLURM counts them." in written
    assert "| GPU | 14.5 % on average |" in written
    assert text.parent == tmp_path / "reports/execution"


def test_the_report_says_what_is_missing(tmp_path: Path) -> None:
    (text,) = appendix.write_execution(tmp_path, execution([], None, []))
    written = text.read_text()
    assert "No run has its state here" in written
    assert "MLflow has nothing here" in written
    assert "No accounting of SLURM here" in written


def execution(found: list[Session], jobs: list[sacct.Job] | None, series: list[ItemUtilisation]) -> Execution:
    missing = None if series else "MLflow has nothing here, so there are no system metrics."
    return Execution(
        "c" * 40, {"GPUs": "none"}, {"results": 2**30}, found, sum_sessions(found, {}), jobs, series, missing, None
    )


def test_a_clock_that_was_set_back_makes_no_negative_hours() -> None:
    """NTP puts the clock back by an hour after the start."""
    back = [event(3540, "start", 0, step=0, host="a", gpus=1), event(30, "end", 0, verdict="finished", step=9)]
    (blind,) = sessions_from_events(FOLDER, back)
    assert (blind.hours, blind.clock_was_set, blind.end) == (0.0, True, blind.start)
    timed = [{**one, "host": "a", "uptime": uptime} for one, uptime in zip(back, (500.0, 590.0), strict=True)]
    (session,) = sessions_from_events(FOLDER, timed)
    assert (session.seconds, session.clock_was_set) == (90, True)
    (total,) = sum_sessions([session], {})
    assert total.gpu_hours == pytest.approx(90 / 3600)
    written = "\n".join(appendix.format_appendix(execution([session], None, [])))
    assert "| 0.025 |" in written
    assert "set during 1 of 1 sessions (wire-r8-0 start 1 on a)" in written


def test_a_clock_that_jumps_ahead_is_said_and_one_that_drifts_is_not() -> None:
    for second, was_set in ((5, False), (3500, True)):
        told = [event(0, "start", 0, host="a", uptime=10.0), event(second, "end", 0, host="a", uptime=14.5)]
        assert [(one.seconds, one.clock_was_set) for one in sessions_from_events(FOLDER, told)] == [(4.5, was_set)]
    assert not any(session.clock_was_set for session in sessions_from_events(FOLDER, STORY))
