"""The page: facts, alerts and charts in one file of HTML, with the library that draws them; nothing is fetched."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from latentwire.dashboard.alerts import find_alerts
from latentwire.dashboard.charts import (
    Chart,
    comparison_charts,
    machine_charts,
    other_charts,
    points_of_a_curve,
    shorten_name,
    training_charts,
)
from latentwire.dashboard.facts import Facts, ItemFacts, facts_as_json
from latentwire.history import HEADERS, history_cells
from latentwire.journal_sample import LOSS, QUALITY
from latentwire.watch import (
    describe_checkpoint,
    describe_starts,
    format_left,
    format_pace,
    read_latest,
)

NO_READINGS = "There are no readings of the machine: no start of this run wrote any."
FOLDER = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class ItemView:
    """An item as the page shows it; every cell is the text that other commands print."""

    name: str
    identity: str
    verdict: str
    kind: str
    """The verdict as a class of the style."""
    percent: float
    cells: dict[str, str]
    """Heading → text, of the row of the item."""
    history: list[list[str]]
    training: list[Chart]
    machine: list[Chart]
    others: list[Chart]
    restarted: bool
    note: str
    """Why there are no readings of the machine; empty where there are some."""
    open: bool


def render_page(facts: Facts, refresh_s: float | None) -> str:
    """The page as a text.

    Args:
        facts: What it tells.
        refresh_s: After so many seconds it loads itself again; None where nothing will change.
    """
    compared, alerts = comparison_charts(facts), find_alerts(facts)
    views = [_view(item, facts) for item in facts.items]
    charts = [*compared, *(chart for view in views for chart in (*view.training, *view.machine, *view.others))]
    return (
        _environment()
        .get_template("dashboard.html.j2")
        .render(
            facts=facts,
            refresh_s=refresh_s,
            counts=_count_verdicts(facts),
            alerts=alerts,
            views=views,
            compared=compared,
            headers=HEADERS,
            embedded=_embed({**facts_as_json(facts), "refresh_s": refresh_s, "alerts": [*map(asdict, alerts)]}),
            figures=_embed({chart.name: chart.as_json() for chart in charts}),
            style=_read("dashboard.css"),
            script=_read("dashboard.js"),
            library=Markup(get_plotlyjs()),
        )
    )


def _view(item: ItemFacts, facts: Facts) -> ItemView:
    now, most = item.status, points_of_a_curve(len(facts.items))
    machine = machine_charts(item, most)
    return ItemView(
        name=now.item,
        identity=item.identity,
        verdict=now.verdict,
        kind="running" if now.under_way else now.verdict.replace(" ", "-"),
        percent=100 * min(1.0, now.step / facts.steps),
        cells=_cells(item),
        history=[history_cells(record) for record in item.history],
        training=training_charts(item, most),
        machine=machine,
        others=other_charts(item, most),
        restarted=len(item.starts) > 1,
        note="" if machine or not now.starts else NO_READINGS,
        open=now.under_way or len(facts.items) == 1,
    )


def _cells(item: ItemFacts) -> dict[str, str]:
    now = item.status
    loss, qualities = read_latest(now.records, LOSS), read_latest(now.records, QUALITY)
    cells = {
        "left": format_left(now),
        "pace": format_pace(now),
        "loss": f"{loss[LOSS]:.4g}" if LOSS in loss else "",
        "validation": ", ".join(f"{shorten_name(key)} {value:.4g}".strip() for key, value in qualities.items()),
        "checkpoint": describe_checkpoint(now),
        "starts": describe_starts(now),
    }
    return cells if now.starts else dict.fromkeys(cells, "")


def _count_verdicts(facts: Facts) -> str:
    counts = Counter(item.status.verdict for item in facts.items)
    return ", ".join(f"{count} {verdict}" for verdict, count in counts.items())


def _embed(value: Any) -> Markup:
    """JSON that stands in a script element: nothing in it can end the element."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c"))


@cache
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _read(name: str) -> Markup:
    return Markup((FOLDER / name).read_text(encoding="utf-8"))
