"""The figures: learning curves, accuracies and differences, all with intervals computed before.

Nothing is estimated while drawing: seaborn draws what it is given (`estimator=None`, `jitter=False`), because its own
intervals are unseeded and pool seeds with examples.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from latentwire.reporting.figures_quality import (
    draw_calibration,
    draw_pareto_front,
    draw_rank_differences,
    draw_variance_shares,
    half_height,
)
from latentwire.reporting.method_figure import draw_method
from latentwire.reporting.report_data import METRIC_NAMES, Record, ReportData, score_label
from latentwire.reporting.style import (
    DASHES,
    GREY,
    HALF,
    Dashes,
    DrawnFigure,
    SeriesStyle,
    assign_styles,
    method_styles,
    open_panels,
    save_figure,
)

LOSS = "train/loss"
ACCURACY = "validation/accuracy"
SHORT_DASHES = 4
"""Of `DASHES`: the patterns of the others are longer than a line of a legend is otherwise."""


def draw_figures(data: ReportData, folder: Path) -> list[DrawnFigure]:
    """Draw every figure of the report into `folder`."""
    way = [draw_method] if data.methods_of_kind("wire") else []
    costs = [draw_pareto_front] if data.has_costs else []
    always = (*way, draw_learning_curves, draw_accuracies, draw_differences, *costs, draw_calibration)
    sometimes = (draw_variance_shares(data, folder), draw_rank_differences(data, folder))
    return [*(draw(data, folder) for draw in always), *(figure for figure in sometimes if figure)]


def draw_learning_curves(data: ReportData, folder: Path) -> DrawnFigure:
    """Training loss and validation accuracy: a thin line per seed, their range and their mean; a row per task.

    Ablations, one line more for each receiver, would hide the bands.
    """
    length = 2.0 if len(data.main_methods) <= SHORT_DASHES else 5.0
    with open_panels(len(data.tasks), 2, 0.35 + 1.5 * len(data.tasks)) as (figure, axes):
        for task, (left, right) in zip(data.tasks, axes, strict=True):
            runs = data.curves[data.curves["task"] == task]
            _draw_loss(data, left, runs[runs["series"] == LOSS])
            _draw_validation(data, right, runs[runs["series"].str.startswith(ACCURACY)])
            left.set_title(data.drawn_name(task), loc="left")
            for ax in (left, right):
                ax.set(xlabel="", xlim=(0, None))
        axes[0][0].legend(handles=_loss_handles(data), loc="upper right", handlelength=length)
        axes[0][1].legend(handles=_validation_handles(data), loc="upper left", handlelength=length)
        for ax in axes[-1]:
            ax.set_xlabel("step")
        paths = save_figure(figure, folder, "learning_curves")
    return DrawnFigure("learning_curves", tuple(paths), tuple(data.stats["runs"]))


def _draw_loss(data: ReportData, ax: Axes, runs: pd.DataFrame) -> None:
    styles = method_styles(data)
    for method in data.main_methods:
        _draw_seeds(ax, runs[runs["method"] == method], styles[method], dashes=_again_dashes(data, method))
    ax.set(ylabel="training loss", ylim=(0, None))


def _loss_handles(data: ReportData) -> list[Line2D]:
    styles = method_styles(data)
    return [
        Line2D([], [], color=styles[key].color, linestyle=_again_dashes(data, key), label=data.drawn_name(key))
        for key in data.main_methods
    ]


def _again_dashes(data: ReportData, method: str) -> Dashes:
    """The dashes of a method's loss: solid, unless a method before it has the same colour."""
    color = {key: style.color for key, style in method_styles(data).items()}
    before = data.main_methods[: data.main_methods.index(method)]
    return DASHES[sum(color[key] == color[method] for key in before) % len(DASHES)]


def _draw_validation(data: ReportData, ax: Axes, runs: pd.DataFrame) -> None:
    for method, receiver, style, dashes in _readers(data):
        series = runs[(runs["method"] == method) & (runs["series"] == _accuracy_series(data, receiver))]
        _draw_seeds(ax, series.assign(value=100 * series["value"]), style, style.marker, dashes)
    ax.set_ylabel("validation accuracy (%)")


def _accuracy_series(data: ReportData, receiver: str) -> str:
    return f"{ACCURACY}/{receiver}" if data.has_receivers else ACCURACY


def _validation_handles(data: ReportData) -> list[Line2D]:
    handles = []
    for method, receiver, style, dashes in _readers(data):
        several = len(data.main_methods) > 1
        name = data.drawn_name(receiver if data.has_receivers else method)
        label = f"{data.drawn_name(method)}, {name}" if several and data.has_receivers else name
        handles.append(Line2D([], [], color=style.color, marker=style.marker, linestyle=dashes, label=label))
    return handles


def _readers(data: ReportData) -> Iterator[tuple[str, str, SeriesStyle, Dashes]]:
    """Trained methods with their receivers; colour and marker tell receivers apart, dashes methods."""
    styles = assign_styles(data.receivers, {}) if data.has_receivers else method_styles(data)
    for number, method in enumerate(data.main_methods):
        for receiver in data.stats["methods"][method]["models"]:
            yield method, receiver, styles[receiver if data.has_receivers else method], DASHES[number % len(DASHES)]


def _draw_seeds(ax: Axes, runs: pd.DataFrame, style: SeriesStyle, marker: str = "", dashes: Dashes = "-") -> None:
    """A thin line per seed in the band of their range, under their mean; with one seed there is only the line."""
    if runs.empty:
        return
    by_step = runs.groupby("step")["value"]
    mean = by_step.mean()
    if runs["seed"].nunique() > 1:
        ax.fill_between(mean.index, by_step.min(), by_step.max(), color=style.color, alpha=0.12, linewidth=0)
        sns.lineplot(
            runs, x="step", y="value", units="seed", estimator=None, ax=ax, color=style.color, linestyle=dashes,
            linewidth=0.5, alpha=0.45, legend=False,
        )  # fmt: skip
    sns.lineplot(
        x=mean.index, y=mean, estimator=None, ax=ax, color=style.color, linestyle=dashes, linewidth=1.3,
        marker=marker or None, markeredgewidth=0, legend=False,
    )  # fmt: skip


def draw_accuracies(data: ReportData, folder: Path) -> DrawnFigure:
    """Accuracy of every method with its interval and its seeds, by task and receiver; the majority rate dashed."""
    ids: list[str] = []
    chance = data.get_setting("chance")
    with _method_panels(data, len(data.stats["methods"])) as (figure, axes):
        for task, line in zip(data.tasks, axes, strict=True):
            for receiver, ax in zip(data.receivers, line, strict=True):
                block = data.get_block(task, receiver)["rows"]
                rows = [row for row in block if row["method"] != chance]
                floor = next(row for row in block if row["method"] == chance)["cell"]
                cells = [data.get_cell(row["cell"]) for row in rows]
                ax.axvline(100 * data.get_cell(floor)["value"], color=GREY, linestyle="--", linewidth=0.8, zorder=0)
                _draw_strips(data, ax, rows, cells)
                _draw_bars(data, ax, rows, cells)
                ids += [floor, *(row["cell"] for row in rows)]
            _share_limits(line)
        _label_panels(data, axes, [score_label(data, task) for task in data.tasks])
        paths = save_figure(figure, folder, "accuracy")
    return DrawnFigure("accuracy", tuple(paths), tuple(dict.fromkeys(ids)))


def draw_differences(data: ReportData, folder: Path) -> DrawnFigure:
    """Forest of paired differences from the reference, with the band of ± the share that may be lost."""
    ids: list[str] = []
    with open_panels(len(data.tasks), len(data.receivers), half_height(data), HALF) as (figure, axes):
        for task, line in zip(data.tasks, axes, strict=True):
            for receiver, ax in zip(data.receivers, line, strict=True):
                block = data.get_block(task, receiver)["rows"]
                rows = [r for r in block if r["versus_reference"] and r["method"] not in data.control_methods]
                reference = next(row for row in block if row["method"] == data.get_setting("reference"))["cell"]
                margin = 100 * (1 - data.get_setting("retained")) * data.get_cell(reference)["value"]
                ax.axvspan(-margin, margin, color="#e6e6e6", zorder=0)
                ax.axvline(0, color="black", linewidth=0.8, zorder=1)
                _draw_bars(data, ax, rows, [data.get_comparison(row["versus_reference"]) for row in rows])
                ids += [reference, *(row["versus_reference"] for row in rows)]
            _share_limits(line)
        names = [METRIC_NAMES[data.metric_of(task)] for task in data.tasks]
        _label_panels(data, axes, [f"points of {name}" for name in names], between=":\n")
        paths = save_figure(figure, folder, "differences")
    return DrawnFigure("differences", tuple(paths), tuple(dict.fromkeys(ids)))


def _method_panels(data: ReportData, lines: int) -> AbstractContextManager[tuple[Figure, list[list[Axes]]]]:
    return open_panels(len(data.tasks), len(data.receivers), 0.45 + (0.42 + 0.17 * lines) * len(data.tasks))


def _draw_strips(data: ReportData, ax: Axes, rows: Sequence[Record], cells: Sequence[Record]) -> None:
    """The accuracy of every seed under the mean; a method without seeds has none."""
    styles = method_styles(data)
    for height, (row, cell) in enumerate(zip(rows, cells, strict=True)):
        shares = [100 * share for share in cell["per_seed"].values()]
        if len(shares) > 1:
            sns.stripplot(
                x=shares, y=[0.32 - height] * len(shares), ax=ax,
                orient="h", native_scale=True, jitter=False, color=styles[row["method"]].color, size=2.2, alpha=0.6,
                linewidth=0, legend=False,
            )  # fmt: skip


def _draw_bars(data: ReportData, ax: Axes, rows: Sequence[Record], numbers: Sequence[Record]) -> None:
    """Points with their intervals, the first row on top; without an interval only the point."""
    styles = method_styles(data)
    for height, (row, number) in enumerate(zip(rows, numbers, strict=True)):
        style, value = styles[row["method"]], 100 * number["value"]
        low, high = number["low"], number["high"]
        error = None if low is None else [[value - 100 * low], [100 * high - value]]
        ax.errorbar(
            value, -height, xerr=error, color=style.color, marker=style.marker, markerfacecolor=style.face,
            elinewidth=1.0, capsize=2.0, linestyle="none",
        )  # fmt: skip
    ax.set_yticks([-height for height in range(len(rows))], [data.drawn_name(row["method"]) for row in rows])
    ax.set_ylim(0.6 - len(rows), 0.6)


def _share_limits(line: Sequence[Axes]) -> None:
    low, high = min(ax.get_xlim()[0] for ax in line), max(ax.get_xlim()[1] for ax in line)
    for ax in line:
        ax.set_xlim(low, high)


def _label_panels(data: ReportData, axes: Sequence[Sequence[Axes]], labels: Sequence[str], between: str = ": ") -> None:
    """Titles, with a sign `between` task and receiver, and below a row what its axis shows unless the next one does."""
    for task, line in zip(data.tasks, axes, strict=True):
        for receiver, ax in zip(data.receivers, line, strict=True):
            ax.set_title(data.drawn_place(task, receiver, between), loc="left")
            ax.tick_params(axis="y", length=0)
            ax.set(xlabel="", ylabel="")
        for ax in line[1:]:
            ax.set_yticklabels([])
    for line, label, below in zip(axes, labels, [*labels[1:], ""], strict=True):
        for ax in line:
            ax.set_xlabel("" if label == below else label)
