"""Utilisation over time from MLflow's system metrics, with marks where a session was preempted or killed."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from latentwire.execution.sessions import KILLED, PREEMPTED, Session
from latentwire.output_files import replace_file
from latentwire.tracking.lookup import RunReader

SERIES = {
    r"system/gpu_\d+_utilization_percentage": "GPU",
    r"system/gpu_\d+_memory_usage_percentage": "GPU memory",
    r"system/cpu_utilization_percentage": "CPU",
    r"system/system_memory_usage_percentage": "memory",
}
GAP_S = 60.0
"""Points further apart are not joined: nothing ran in between."""
Points = list[tuple[float, float]]
"""(seconds since 1970, percent)"""


@dataclass(frozen=True)
class ItemUtilisation:
    """System metrics of an item's run, by kind, and the number of GPUs seen."""

    item: str
    series: Mapping[str, list[Points]]
    gpus: int


def read_utilisation(mlflow: RunReader, item: str, identity: str) -> ItemUtilisation | None:
    """What MLflow has of an item; None where it has no run or no system metrics of it."""
    run = mlflow.run_of(identity)
    if run is None:
        return None
    series: dict[str, list[Points]] = {}
    for name in sorted(run.data.metrics):
        kind = metric_kind(name)
        if kind:
            history = mlflow.client.get_metric_history(run.info.run_id, name)
            series.setdefault(kind, []).append(sorted((point.timestamp / 1000, point.value) for point in history))
    return ItemUtilisation(item, series, len(series.get("GPU", ()))) if series else None


def metric_kind(name: str) -> str | None:
    """Which kind of utilisation an MLflow metric measures; None for any other metric."""
    return next((kind for pattern, kind in SERIES.items() if re.fullmatch(pattern, name)), None)


def insert_gaps(points: Points, gap: float = GAP_S) -> Points:
    """Points with a NaN wherever two are further apart than `gap` seconds, so that no line is drawn there."""
    joined: Points = []
    for time, value in points:
        if joined and time - joined[-1][0] > gap:
            joined.append((joined[-1][0], float("nan")))
        joined.append((time, value))
    return joined


def mean_utilisation(measured: Sequence[ItemUtilisation]) -> dict[str, float]:
    """Mean percentage by kind, over all points of all items."""
    values: dict[str, list[float]] = {}
    for item in measured:
        for kind, lines in item.series.items():
            values.setdefault(kind, []).extend(value for points in lines for _, value in points)
    return {kind: sum(points) / len(points) for kind, points in values.items() if points}


def draw_utilisation(measured: Sequence[ItemUtilisation], sessions: Sequence[Session], path: Path) -> None:
    """Write the figure: a panel per kind, hours since the first point, a line where a session ended early."""
    kinds = [kind for kind in SERIES.values() if any(kind in item.series for item in measured)]
    first = min(points[0][0] for item in measured for lines in item.series.values() for points in lines if points)
    figure = Figure(figsize=(6.75, 0.6 + 1.3 * len(kinds)), layout="constrained")
    axes = figure.subplots(len(kinds), 1, sharex=True, squeeze=False)[:, 0]
    for axis, kind in zip(axes, kinds, strict=True):
        _panel(axis, kind, measured, first)
        _marks(axis, sessions, first)
    axes[-1].set_xlabel(f"hours since {datetime.fromtimestamp(first, UTC):%Y-%m-%d %H:%M} UTC", fontsize=8)
    if axes[0].get_legend_handles_labels()[0]:
        axes[0].legend(loc="upper right", fontsize=7, frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replace_file(path) as partial:
        figure.savefig(partial, dpi=200)


def _panel(axis: Any, kind: str, measured: Sequence[ItemUtilisation], first: float) -> None:
    for item in measured:
        for points in item.series.get(kind, ()):
            line = insert_gaps(points)
            hours, values = [(time - first) / 3600 for time, _ in line], [value for _, value in line]
            axis.plot(hours, values, linewidth=0.9, marker="." if len(points) < 3 else None, color="#0173b2", alpha=0.8)
    axis.set_ylim(0, 105)
    axis.set_ylabel(f"{kind} (%)", fontsize=8)
    axis.tick_params(labelsize=7)
    axis.spines[["top", "right"]].set_visible(False)


def _marks(axis: Any, sessions: Sequence[Session], first: float) -> None:
    """Dashed: preempted after a checkpoint. Dotted: killed, or still running."""
    for verdict, style, color in ((PREEMPTED, "--", "#d55e00"), (KILLED, ":", "#949494")):
        ends = [session.end.timestamp() for session in sessions if session.verdict == verdict]
        for index, end in enumerate(ends):
            label = verdict if index == 0 else None
            axis.axvline((end - first) / 3600, linestyle=style, linewidth=1.0, color=color, label=label)
