"""The figures: learning curves, accuracies and differences, all with intervals computed before.

Nothing is estimated while drawing: a plotting library's own error bars are unseeded and pool seeds with
examples.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from latentwire.reporting.facts import Facts, Record
from latentwire.reporting.figures_quality import calibration, critical_difference, pareto, variance_shares
from latentwire.reporting.style import DASHES, GREY, Dashes, Drawn, Look, looks, panels, save

LOSS = "train/loss"
ACCURACY = "validation/accuracy/"


def all_figures(facts: Facts, folder: Path) -> list[Drawn]:
    """Draw every figure of the report into `folder`."""
    always = (learning_curves, accuracy, differences, pareto, calibration)
    sometimes = (variance_shares(facts, folder), critical_difference(facts, folder))
    return [*(draw(facts, folder) for draw in always), *(drawn for drawn in sometimes if drawn)]


def learning_curves(facts: Facts, folder: Path) -> Drawn:
    """Training loss and validation accuracy, a thin line per seed and their mean over it; a row per task."""
    with panels(len(facts.tasks), 2, 0.35 + 1.65 * len(facts.tasks)) as (figure, axes):
        for task, (left, right) in zip(facts.tasks, axes, strict=True):
            runs = facts.curves[facts.curves["task"] == task]
            _loss_panel(facts, left, runs[runs["series"] == LOSS])
            _validation_panel(facts, right, runs[runs["series"].str.startswith(ACCURACY)])
            left.set_title(facts.name(task), loc="left")
            for ax in (left, right):
                ax.set_xlim(0, None)
        axes[0][0].legend(handles=_loss_handles(facts), loc="upper right")
        axes[0][1].legend(handles=_validation_handles(facts), loc="upper left")
        for ax in axes[-1]:
            ax.set_xlabel("step")
        paths = save(figure, folder, "learning_curves")
    return Drawn("learning_curves", tuple(paths), tuple(facts.stats["runs"]))


def _loss_panel(facts: Facts, ax: Axes, runs: pd.DataFrame) -> None:
    styles = _method_looks(facts)
    for method in facts.trained():
        _seed_lines(ax, runs[runs["method"] == method], styles[method], marker=False)
    ax.set_ylabel("training loss")
    ax.set_ylim(0, None)


def _loss_handles(facts: Facts) -> list[Line2D]:
    styles = _method_looks(facts)
    return [Line2D([], [], color=styles[key].color, label=facts.name(key)) for key in facts.trained()]


def _validation_panel(facts: Facts, ax: Axes, runs: pd.DataFrame) -> None:
    for method, receiver, look, dashes in _readers(facts):
        found = runs[(runs["method"] == method) & (runs["series"] == ACCURACY + receiver)]
        _seed_lines(ax, found, look, marker=True, dashes=dashes)
    ax.set_ylabel("validation accuracy (%)")


def _validation_handles(facts: Facts) -> list[Line2D]:
    handles = []
    for method, receiver, look, dashes in _readers(facts):
        several = len(facts.trained()) > 1
        label = f"{facts.name(method)}, {facts.name(receiver)}" if several else facts.name(receiver)
        handles.append(Line2D([], [], color=look.color, marker=look.marker, linestyle=dashes, label=label))
    return handles


def _readers(facts: Facts) -> Iterator[tuple[str, str, Look, Dashes]]:
    """Trained methods with their receivers; colour and marker tell receivers apart, dashes methods."""
    styles = looks(facts.receivers, {})
    for number, method in enumerate(facts.trained()):
        for receiver in facts.stats["methods"][method]["models"]:
            yield method, receiver, styles[receiver], DASHES[number % len(DASHES)]


def _seed_lines(ax: Axes, runs: pd.DataFrame, look: Look, marker: bool, dashes: Dashes = "-") -> None:
    """A thin line per seed under their mean; with one seed the two are the same line."""
    wide = runs.pivot(index="step", columns="seed", values="value") * (100.0 if marker else 1.0)
    if len(wide.columns) > 1:
        ax.plot(wide.index, wide, color=look.color, linewidth=0.5, alpha=0.45, linestyle=dashes)
    symbol = look.marker if marker else "none"
    ax.plot(wide.index, wide.mean(axis=1), color=look.color, linewidth=1.2, linestyle=dashes, marker=symbol)


def accuracy(facts: Facts, folder: Path) -> Drawn:
    """Accuracy of every method with its interval; a panel per task and receiver, the majority rate dashed."""
    ids: list[str] = []
    chance = facts.setting("chance")
    with _grid(facts, len(facts.stats["methods"])) as (figure, axes):
        for task, line in zip(facts.tasks, axes, strict=True):
            for receiver, ax in zip(facts.receivers, line, strict=True):
                rows = [row for row in facts.block(task, receiver)["rows"] if row["method"] != chance]
                floor = next(r for r in facts.block(task, receiver)["rows"] if r["method"] == chance)["cell"]
                ax.axvline(100 * facts.cell(floor)["value"], color=GREY, linestyle="--", linewidth=0.8, zorder=0)
                _bars(facts, ax, rows, [facts.cell(row["cell"]) for row in rows])
                ids += [floor, *(row["cell"] for row in rows)]
            _share_limits(line)
        _frame(facts, axes, "accuracy (%)")
        paths = save(figure, folder, "accuracy")
    return Drawn("accuracy", tuple(paths), tuple(dict.fromkeys(ids)))


def differences(facts: Facts, folder: Path) -> Drawn:
    """Forest of paired differences from the reference, with the band of ± the share that may be lost."""
    ids: list[str] = []
    count = len([m for m in facts.stats["methods"].values() if not m["control_of"]]) - 1
    with _grid(facts, count) as (figure, axes):
        for task, line in zip(facts.tasks, axes, strict=True):
            for receiver, ax in zip(facts.receivers, line, strict=True):
                block = facts.block(task, receiver)
                rows = [r for r in block["rows"] if r["versus_reference"] and r["method"] not in facts.controls()]
                reference = next(r for r in block["rows"] if r["versus_reference"] is None)["cell"]
                margin = 100 * (1 - facts.setting("retained")) * facts.cell(reference)["value"]
                ax.axvspan(-margin, margin, color="#e6e6e6", zorder=0)
                ax.axvline(0, color="black", linewidth=0.8, zorder=1)
                _bars(facts, ax, rows, [facts.comparison(row["versus_reference"]) for row in rows])
                ids += [reference, *(row["versus_reference"] for row in rows)]
            _share_limits(line)
        _frame(facts, axes, f"difference from {facts.name(facts.setting('reference'))} (points)")
        paths = save(figure, folder, "differences")
    return Drawn("differences", tuple(paths), tuple(dict.fromkeys(ids)))


def _grid(facts: Facts, lines: int) -> AbstractContextManager[tuple[Figure, list[list[Axes]]]]:
    return panels(len(facts.tasks), len(facts.receivers), 0.45 + (0.42 + 0.17 * lines) * len(facts.tasks))


def _method_looks(facts: Facts) -> dict[str, Look]:
    methods = facts.stats["methods"]
    return looks(facts.stats["order"]["methods"], {key: method["control_of"] for key, method in methods.items()})


def _bars(facts: Facts, ax: Axes, rows: Sequence[Record], numbers: Sequence[Record]) -> None:
    """Points with their intervals, the first row on top; without an interval only the point."""
    styles = _method_looks(facts)
    for height, (row, number) in enumerate(zip(rows, numbers, strict=True)):
        look, value = styles[row["method"]], 100 * number["value"]
        low, high = number["low"], number["high"]
        error = None if low is None else [[value - 100 * low], [100 * high - value]]
        ax.errorbar(
            value,
            -height,
            xerr=error,
            color=look.color,
            marker=look.marker,
            markerfacecolor=look.face,
            elinewidth=1.0,
            capsize=2.0,
            linestyle="none",
        )
    ax.set_yticks([-height for height in range(len(rows))], [facts.name(row["method"]) for row in rows])
    ax.set_ylim(0.6 - len(rows), 0.6)


def _share_limits(line: Sequence[Axes]) -> None:
    low, high = min(ax.get_xlim()[0] for ax in line), max(ax.get_xlim()[1] for ax in line)
    for ax in line:
        ax.set_xlim(low, high)


def _frame(facts: Facts, axes: Sequence[Sequence[Axes]], label: str) -> None:
    for task, line in zip(facts.tasks, axes, strict=True):
        for receiver, ax in zip(facts.receivers, line, strict=True):
            ax.set_title(f"{facts.name(task)}: {facts.name(receiver)}", loc="left")
            ax.tick_params(axis="y", length=0)
        for ax in line[1:]:
            ax.set_yticklabels([])
    for ax in axes[-1]:
        ax.set_xlabel(label)
