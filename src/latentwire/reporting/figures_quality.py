"""Figures about what an accuracy costs, how it is made up, and how far its confidence can be believed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from latentwire.reporting.report_data import Record, ReportData, score_label
from latentwire.reporting.style import (
    GREY,
    HALF,
    PALETTE,
    DrawnFigure,
    SeriesStyle,
    assign_styles,
    method_styles,
    open_panels,
    save_figure,
)

PARTS = ("seeds", "examples", "residual")
PANELS_IN_ROW = 5
"""Methods side by side in the figure of calibration."""


def half_height(data: ReportData) -> float:
    """The height of the two figures that stand side by side, for the rows of methods in the first of them."""
    rows = sum(data.control_of(method) is None for method in data.methods)
    return 0.45 + (0.5 + 0.15 * rows) * len(data.tasks)


def draw_pareto_front(data: ReportData, folder: Path) -> DrawnFigure:
    """Accuracy against bytes per example on a log₂ axis, with the front: nothing cheaper is better."""
    ids: list[str] = []
    styles = method_styles(data)
    with open_panels(len(data.tasks), len(data.receivers), half_height(data), HALF) as (figure, axes):
        for task, line in zip(data.tasks, axes, strict=True):
            for receiver, ax in zip(data.receivers, line, strict=True):
                rows = [r for r in data.get_block(task, receiver)["rows"] if r["method"] not in data.control_methods]
                cells = [data.get_cell(row["cell"]) for row in rows]
                for row, cell in zip(rows, cells, strict=True):
                    _draw_point(ax, cell, styles[row["method"]])
                _draw_front(ax, cells)
                ax.set_xscale("symlog", base=2, linthresh=8, linscale=0.5)
                ax.set_xlim(-2, None)
                ax.set_xticks(_byte_ticks(max(cell["bytes_per_example"] for cell in cells)))
                ax.set_title(data.drawn_place(task, receiver, ":\n"), loc="left")
                ids += [row["cell"] for row in rows]
            line[0].set_ylabel(score_label(data, task))
        for ax in axes[-1]:
            ax.set_xlabel("bytes per example")
        figure.legend(handles=_handles(data, styles), loc="outside lower center", ncols=3)
        paths = save_figure(figure, folder, "pareto")
    return DrawnFigure("pareto", tuple(paths), tuple(dict.fromkeys(ids)))


def pareto_front(cells: Sequence[Record]) -> list[tuple[float, float]]:
    """(bytes, accuracy) of the cells that no other cell beats at the same bytes or fewer, by bytes."""
    steps: list[tuple[float, float]] = []
    for cell in sorted(cells, key=lambda cell: (cell["bytes_per_example"], -cell["value"])):
        if not steps or cell["value"] > steps[-1][1]:
            steps.append((cell["bytes_per_example"], cell["value"]))
    return steps


def _byte_ticks(most: float) -> list[int]:
    """0 and up to three powers of two, the largest of them no more than `most` but for small ones."""
    top = max(3, int(math.log2(max(most, 1))))
    step = max(1, -(-(top - 3) // 2))
    return [0, *(2**power for power in sorted({max(3, top - count * step) for count in range(3)}))]


def _draw_front(ax: Axes, cells: Sequence[Record]) -> None:
    steps = pareto_front(cells)
    costs = [cost for cost, _ in steps] + [max(cell["bytes_per_example"] for cell in cells)]
    best = [100 * value for _, value in steps]
    ax.step(costs, [*best, best[-1]], where="post", color=GREY, linewidth=0.8, zorder=0)


def _draw_point(ax: Axes, cell: Record, style: SeriesStyle) -> None:
    value = 100 * cell["value"]
    error = [[value - 100 * cell["low"]], [100 * cell["high"] - value]]
    ax.errorbar(
        cell["bytes_per_example"], value, yerr=error, color=style.color, marker=style.marker,
        markerfacecolor=style.face, elinewidth=0.9, capsize=1.5, linestyle="none",
    )  # fmt: skip


def _handles(data: ReportData, styles: dict[str, SeriesStyle]) -> list[Line2D]:
    return [
        Line2D([], [], color=style.color, marker=style.marker, linestyle="none", label=data.drawn_name(key))
        for key, style in styles.items()
        if key not in data.control_methods
    ]


def draw_calibration(data: ReportData, folder: Path) -> DrawnFigure:
    """Share of right answers against confidence, in ten bins; the area of a point is its share of the answers.

    A panel per method: the lines of ten methods within one panel cannot be told apart.
    """
    shown = [key for key in data.methods if key not in data.control_methods and key != data.get_setting("chance")]
    places = [(task, receiver) for task in data.tasks for receiver in data.receivers]
    styles = assign_styles([data.drawn_place(*place) for place in places], {})
    columns = min(PANELS_IN_ROW, len(shown))
    rows = -(-len(shown) // columns)
    ids: list[str] = []
    with open_panels(rows, columns, 0.5 + 1.5 * rows) as (figure, axes):
        panels = [ax for line in axes for ax in line]
        for ax, method in zip(panels, shown, strict=False):
            for place, style in zip(places, styles.values(), strict=True):
                key = _calibration_id(data, method, *place)
                if key is not None and key not in ids:  # without a receiver it is the same at each
                    ids.append(key)
                    _draw_bins(ax, data.stats["calibration"][key]["bins"], style)
            _frame_bins(ax, data.drawn_name(method))
        _label_edges(panels, len(shown), columns)
        figure.legend(handles=_named_handles(styles), loc="outside lower center", ncols=4)
        paths = save_figure(figure, folder, "calibration")
    return DrawnFigure("calibration", tuple(paths), tuple(ids))


def _calibration_id(data: ReportData, method: str, task: str, receiver: str) -> str | None:
    cells = (row["cell"] for row in data.get_block(task, receiver)["rows"] if row["method"] == method)
    return next((data.same_cell(cell, "ece") for cell in cells), None)


def _frame_bins(ax: Axes, title: str) -> None:
    ax.plot([0, 100], [0, 100], color=GREY, linestyle="--", linewidth=0.8, zorder=0)
    ax.set_title(title, loc="left")
    ax.set(xlim=(0, 103), ylim=(-3, 103), xticks=(0, 50, 100), yticks=(0, 50, 100))


def _label_edges(panels: Sequence[Axes], shown: int, columns: int) -> None:
    """What the axes show, on the left and below; places without a panel are left empty."""
    for ax in panels[shown:]:
        ax.remove()
    for number, ax in enumerate(panels[:shown]):
        if number % columns == 0:
            ax.set_ylabel("right answers (%)")
        if number + columns >= shown:
            ax.set_xlabel("confidence (%)")


def _named_handles(styles: dict[str, SeriesStyle]) -> list[Line2D]:
    return [Line2D([], [], color=s.color, marker=s.marker, linewidth=0.8, label=name) for name, s in styles.items()]


def _draw_bins(ax: Axes, bins: Sequence[Record], style: SeriesStyle) -> None:
    x, y = [100 * b["confidence"] for b in bins], [100 * b["accuracy"] for b in bins]
    ax.plot(x, y, color=style.color, linewidth=0.8, alpha=0.8)
    sizes = [4 + 60 * b["share"] for b in bins]
    ax.scatter(x, y, s=sizes, color=style.color, marker=style.marker, linewidths=0, alpha=0.8)


def draw_variance_shares(data: ReportData, folder: Path) -> DrawnFigure | None:
    """What the variance of each difference from the reference is made of; None where no method has several seeds."""
    records = [r for r in data.reference_differences() if r["shares"] and r["a"] not in data.control_methods]
    if not records:
        return None
    with open_panels(1, 1, 0.65 + 0.17 * len(records)) as (figure, axes):
        ax = axes[0][0]
        for height, record in enumerate(records):
            left = 0.0
            for part, color in zip(PARTS, PALETTE, strict=False):
                share = 100 * record["shares"][part]
                ax.barh(-height, share, left=left, height=0.7, color=color)
                left += share
        places = [data.drawn_place(record["task"], record["receiver"], ", ") for record in records]
        labels = [f"{place}: {data.drawn_name(record['a'])}" for place, record in zip(places, records, strict=True)]
        ax.set_yticks([-height for height in range(len(records))], labels)
        ax.tick_params(axis="y", length=0)
        ax.set(xlim=(0, 100), xlabel="share of the variance of the difference (%)")
        handles = [
            Line2D([], [], marker="s", linestyle="none", color=color, label=part)
            for part, color in zip(PARTS, PALETTE, strict=False)
        ]
        figure.legend(handles=handles, loc="outside lower center", ncols=3)
        paths = save_figure(figure, folder, "variance_shares")
    return DrawnFigure("variance_shares", tuple(paths), tuple(record["id"] for record in records))


def draw_rank_differences(data: ReportData, folder: Path) -> DrawnFigure | None:
    """Mean ranks over the tasks, a panel per receiver; None below six tasks, where no ranks are compared."""
    ranks = {key: record for key, record in data.stats["ranks"].items() if record["reason"] is None}
    if not ranks:
        return None
    styles = method_styles(data)
    lines = max(len(record["methods"]) for record in ranks.values())
    with open_panels(1, len(ranks), 0.9 + 0.16 * lines) as (figure, axes):
        for ax, record in zip(axes[0], ranks.values(), strict=True):
            ordered = sorted(record["methods"].items(), key=lambda item: item[1])
            for height, (method, rank) in enumerate(ordered):
                style = styles[method]
                reach = rank + record["critical_difference"]
                ax.plot([rank, reach], [-height, -height], color=GREY, linewidth=0.8, zorder=0)
                ax.plot(rank, -height, color=style.color, marker=style.marker, linestyle="none")
            ax.set_yticks([-h for h in range(len(ordered))], [data.drawn_name(method) for method, _ in ordered])
            ax.set_ylim(0.6 - len(ordered), 0.6)
            ax.set_xlabel("mean rank (line: critical difference)")
            ax.set_title(data.drawn_name(record["model"]) if data.has_receivers else "", loc="left")
        paths = save_figure(figure, folder, "ranks")
    return DrawnFigure("ranks", tuple(paths), tuple(ranks))
