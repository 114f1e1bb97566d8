"""The charts of the page, as plotly draws them: curves of training with a mark at every start, and the machine."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from latentwire.dashboard.curves import Point, finite, join_segments, thin_points
from latentwire.dashboard.facts import Facts, ItemFacts
from latentwire.dashboard.machine_series import MachineSeries, Panel, format_moment, split_starts
from latentwire.journal_sample import LOSS, QUALITY
from unbroken.run_folder.journal import Record

MARK, BROKEN, RULE = "#d55e00", "#cc2222", "#949494"
"""Colours of a start, of what is no number, of a limit; legible on white and on black."""
POINTS_OF_A_PAGE, FEWEST, MOST = 8_000, 60, 600
"""Points of each kind of curve on a page, and of one curve."""
LEGEND = 12
"""More names would hide the curves; then the pointer shows them."""
COLOURS, DASHES = 8, ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
"""How many the page has (`--colors` of dashboard.css), and what tells curves apart once they come again."""
Trace = dict[str, Any]
Marks = Sequence[tuple[Any, str]]
"""A step or a moment, and what is to be said of it."""


@dataclass(frozen=True)
class Chart:
    """One chart of the page."""

    name: str
    """Of no other chart there."""
    title: str
    data: Sequence[Trace]
    layout: Mapping[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """What plotly takes."""
        return {"data": list(self.data), "layout": dict(self.layout)}


def comparison_charts(facts: Facts) -> list[Chart]:
    """All items in one chart: the loss, and the quality on the validation split."""
    shown = [item for item in facts.items if item.status.records]
    if len(shown) < 2:
        return []
    most = points_of_a_curve(len(shown))
    losses = [_line(item.status.item, _curve(item.status.records, LOSS, most)) for item in shown]
    qualities = [
        _line(f"{item.status.item} {shorten_name(key)}".strip(), _curve(item.status.records, key, most))
        for item in shown
        for key in _metrics(item.status.records)
        if key.startswith(QUALITY)
    ]
    charts = [("all/loss", LOSS, losses), ("all/quality", QUALITY, qualities)]
    return [
        Chart(name, title, _tell_apart(data), _over_steps(len(data), facts.steps))
        for name, title, data in charts
        if data
    ]


def training_charts(item: ItemFacts, most: int = MOST) -> list[Chart]:
    """Loss and validation metrics over steps, and the pace, with a mark at every start."""
    families = _families(item.status.records)
    wanted = [name for name in families if name == LOSS or name.startswith("validation/")]
    pace = _pace(item, most)
    return [*(_metric_chart(item, name, families[name], most) for name in wanted), *pace]


def other_charts(item: ItemFacts, most: int = MOST) -> list[Chart]:
    """Every other metric of the journal."""
    families = _families(item.status.records)
    wanted = [name for name in families if name != LOSS and not name.startswith("validation/")]
    return [_metric_chart(item, name, families[name], most) for name in wanted]


def machine_charts(item: ItemFacts, most: int = MOST) -> list[Chart]:
    """GPUs, processors, memory and disk over time, with a mark at every start."""
    series = MachineSeries(item.readings)
    marks = _time_marks(item, series.begin)
    return [_machine_chart(item, panel, marks, most) for panel in series.panels()]


def shorten_name(key: str) -> str:
    """`llama` of `validation/accuracy/llama`; empty where the metric has no more of a name."""
    return key.removeprefix(QUALITY).strip("/")


def points_of_a_curve(items: int) -> int:
    """How many points a curve may have, so that the page stays small with many items."""
    return max(FEWEST, min(MOST, POINTS_OF_A_PAGE // max(1, items)))


def _metrics(records: Sequence[Record]) -> list[str]:
    return sorted({key for record in records for key, value in record.items() if key != "step" and value is not None})


def _families(records: Sequence[Record]) -> dict[str, list[str]]:
    """`validation/accuracy` → that of every receiver: what has one scale is one chart."""
    families: dict[str, list[str]] = {}
    for key in _metrics(records):
        families.setdefault("/".join(key.split("/")[:2]), []).append(key)
    return families


def _curve(records: Sequence[Record], key: str, most: int) -> list[Point]:
    points = [(record["step"], finite(record[key])) for record in records if record.get(key) is not None]
    return thin_points(points, most)


def _line(name: str, points: Iterator[Point] | Sequence[Point]) -> Trace:
    places, values = zip(*points, strict=True) if (points := list(points)) else ((), ())
    few = sum(value is not None for value in values) <= 30
    return {
        "type": "scatter",
        "name": name,
        "mode": "lines+markers" if few else "lines",
        "x": list(places),
        "y": list(values),
        "connectgaps": False,
    }


def _tell_apart(lines: Sequence[Trace]) -> list[Trace]:
    """Curves of a chart, dashed where their colours come again."""
    return [{**line, "line": {"dash": DASHES[place // COLOURS % len(DASHES)]}} for place, line in enumerate(lines)]


def _metric_chart(item: ItemFacts, family: str, keys: Sequence[str], most: int) -> Chart:
    records = item.status.records
    lines = [_line(key.removeprefix(f"{family}/"), _curve(records, key, most)) for key in keys]
    broken = [trace for key in keys for trace in _broken(records, key)]
    layout = _over_steps(len(keys), item.steps, _step_marks(item))
    return Chart(f"{item.status.item}/{family}", family, [*_tell_apart(lines), *broken], layout)


def _machine_chart(item: ItemFacts, panel: Panel, marks: Marks, most: int) -> Chart:
    data = [_line(name, join_segments([thin_points(part, most) for part in parts])) for name, parts in panel.curves]
    return Chart(
        f"{item.status.item}/{panel.name}", panel.title, _tell_apart(data), _over_time(len(data), panel, marks)
    )


def _broken(records: Sequence[Record], key: str) -> list[Trace]:
    """Crosses where the value is no number, at the height of the last one that was."""
    points, height = [], 0.0
    for record in records:
        value = record.get(key)
        if value is None:
            continue
        if math.isfinite(value):
            height = float(value)
        else:
            points.append((record["step"], height, f"step {record['step']}: {value}"))
    return [_crosses(points)] if points else []


def _step_marks(item: ItemFacts) -> list[tuple[Any, str]]:
    """The step that each start after the first went on from, and why it had to."""
    return [(record.session.first_step, _told(item, place)) for place, record in enumerate(item.starts) if place]


def _time_marks(item: ItemFacts, begin: datetime | None) -> list[tuple[Any, str]]:
    """When each start after the first began, as far as there are readings."""
    return [
        (format_moment(record.session.start), _told(item, place))
        for place, record in enumerate(item.starts)
        if place and begin is not None and record.session.start >= begin
    ]


def _told(item: ItemFacts, place: int) -> str:
    before, this = item.starts[place - 1], item.starts[place]
    lost = f", {before.lost} steps lost" if before.lost else ""
    return (
        f"start {this.session.restart + 1} from step {this.session.first_step} on {this.session.host}; "
        f"the one before: {before.ended}{lost}"
    )


def _crosses(points: Sequence[tuple[int, float, str]]) -> Trace:
    return {
        "type": "scatter",
        "name": "no number",
        "mode": "markers",
        "x": [point[0] for point in points],
        "y": [point[1] for point in points],
        "text": [point[2] for point in points],
        "hovertemplate": "%{text}<extra></extra>",
        "marker": {"symbol": "x", "size": 10, "color": BROKEN},
    }


def _pace(item: ItemFacts, most: int) -> list[Chart]:
    """Steps per second between two readings that saw another step; validation and saves are in it."""
    parts = [list(_paces(start)) for start in split_starts(item.readings)]
    points = list(join_segments([thin_points(part, most) for part in parts if part]))
    layout = _over_steps(1, item.steps, _step_marks(item))
    return [Chart(f"{item.status.item}/pace", "steps per second", [_line("pace", points)], layout)] if points else []


def _paces(start: Sequence[Any]) -> Iterator[Point]:
    last = None
    for reading in start:
        if reading.step is None or (last is not None and reading.step <= last.step):
            continue
        if last is not None and reading.uptime > last.uptime:
            yield reading.step, (reading.step - last.step) / (reading.uptime - last.uptime)
        last = reading


def _over_steps(curves: int, steps: int, marks: Marks = ()) -> dict[str, Any]:
    """As wide as the whole training: how far it came is seen, too."""
    xaxis = {"range": [0, 1.01 * steps]}
    return {"xaxis": xaxis, "showlegend": 1 < curves <= LEGEND, **_signs(marks, [])}


def _over_time(curves: int, panel: Panel, marks: Marks) -> dict[str, Any]:
    bounds = {"range": [0, panel.highest]} if panel.highest is not None else {"rangemode": "tozero"}
    limits = [] if panel.limit is None else [_limit(panel.limit)]
    return {
        "xaxis": {"type": "date"},
        "yaxis": bounds,
        "showlegend": 1 < curves <= LEGEND,
        **_signs(marks, limits),
    }


def _limit(value: float) -> dict[str, Any]:
    line = {"color": RULE, "dash": "dot", "width": 1}
    return {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": value, "y1": value, "line": line}


def _signs(marks: Marks, shapes: list[dict[str, Any]]) -> dict[str, Any]:
    """An upright line at every mark, with a sign above that the pointer reads."""
    line = {"color": MARK, "dash": "dash", "width": 1}
    lines = [{"type": "line", "yref": "paper", "y0": 0, "y1": 1, "x0": at, "x1": at, "line": line} for at, _ in marks]
    sign = {"y": 1, "yref": "paper", "yanchor": "bottom", "text": "▲", "showarrow": False}
    font = {"font": {"color": MARK, "size": 11}}
    return {
        "shapes": [*shapes, *lines],
        "annotations": [{"x": at, "hovertext": told, **sign, **font} for at, told in marks],
    }
