"""Figures about what an accuracy costs, how it is made up, and how far its confidence can be believed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from latentwire.reporting.facts import Facts, Record
from latentwire.reporting.style import GREY, PALETTE, Drawn, Look, looks, panels, save

PARTS = ("seeds", "examples", "residual")


def pareto(facts: Facts, folder: Path) -> Drawn:
    """Accuracy against bytes per example on a log₂ axis, with the front: nothing cheaper is better."""
    ids: list[str] = []
    styles = _looks(facts)
    with panels(len(facts.tasks), len(facts.receivers), 0.5 + 1.75 * len(facts.tasks)) as (figure, axes):
        for task, line in zip(facts.tasks, axes, strict=True):
            for receiver, ax in zip(facts.receivers, line, strict=True):
                rows = [r for r in facts.block(task, receiver)["rows"] if r["method"] not in facts.controls()]
                cells = [facts.cell(row["cell"]) for row in rows]
                for row, cell in zip(rows, cells, strict=True):
                    _point(ax, cell, styles[row["method"]])
                _front(ax, cells)
                ax.set_xscale("symlog", base=2, linthresh=8, linscale=0.5)
                ax.set_xlim(-2, None)
                ax.set_title(f"{facts.name(task)}: {facts.name(receiver)}", loc="left")
                ids += [row["cell"] for row in rows]
            line[0].set_ylabel("accuracy (%)")
        for ax in axes[-1]:
            ax.set_xlabel("bytes per example")
        figure.legend(handles=_handles(facts, styles), loc="outside lower center", ncols=6)
        paths = save(figure, folder, "pareto")
    return Drawn("pareto", tuple(paths), tuple(dict.fromkeys(ids)))


def front(cells: Sequence[Record]) -> list[tuple[float, float]]:
    """(bytes, accuracy) of the cells that no other cell beats at the same bytes or fewer, by bytes."""
    found: list[tuple[float, float]] = []
    for cell in sorted(cells, key=lambda cell: (cell["bytes_per_example"], -cell["value"])):
        if not found or cell["value"] > found[-1][1]:
            found.append((cell["bytes_per_example"], cell["value"]))
    return found


def _front(ax: Axes, cells: Sequence[Record]) -> None:
    steps = front(cells)
    costs = [cost for cost, _ in steps] + [max(cell["bytes_per_example"] for cell in cells)]
    best = [100 * value for _, value in steps]
    ax.step(costs, [*best, best[-1]], where="post", color=GREY, linewidth=0.8, zorder=0)


def _point(ax: Axes, cell: Record, look: Look) -> None:
    value = 100 * cell["value"]
    error = [[value - 100 * cell["low"]], [100 * cell["high"] - value]]
    ax.errorbar(
        cell["bytes_per_example"], value, yerr=error, color=look.color, marker=look.marker,
        markerfacecolor=look.face, elinewidth=0.9, capsize=1.5, linestyle="none",
    )  # fmt: skip


def _handles(facts: Facts, styles: dict[str, Look]) -> list[Line2D]:
    keys = [key for key in styles if key not in facts.controls()]
    return [
        Line2D([], [], color=styles[key].color, marker=styles[key].marker, linestyle="none", label=facts.name(key))
        for key in keys
    ]


def calibration(facts: Facts, folder: Path) -> Drawn:
    """Share of right answers against confidence, in ten bins; the area of a point is its share of the answers."""
    records = facts.stats["calibration"]
    styles = _looks(facts)
    ids: list[str] = []
    shown = [key for key in styles if key not in facts.controls() and key != facts.setting("chance")]
    with panels(len(facts.tasks), len(facts.receivers), 0.5 + 1.7 * len(facts.tasks)) as (figure, axes):
        for task, line in zip(facts.tasks, axes, strict=True):
            for receiver, ax in zip(facts.receivers, line, strict=True):
                ax.plot([0, 100], [0, 100], color=GREY, linestyle="--", linewidth=0.8, zorder=0)
                for row in facts.block(task, receiver)["rows"]:
                    if row["method"] in shown:
                        key = row["cell"].removesuffix(facts.setting("metric")) + "ece"
                        _reliability(ax, records[key]["bins"], styles[row["method"]])
                        ids.append(key)
                ax.set_title(f"{facts.name(task)}: {facts.name(receiver)}", loc="left")
                ax.set(xlim=(0, 103), ylim=(-3, 103))
            line[0].set_ylabel("right answers (%)")
        for ax in axes[-1]:
            ax.set_xlabel("confidence (%)")
        handles = _handles(facts, {key: styles[key] for key in shown})
        figure.legend(handles=handles, loc="outside lower center", ncols=6)
        paths = save(figure, folder, "calibration")
    return Drawn("calibration", tuple(paths), tuple(dict.fromkeys(ids)))


def _reliability(ax: Axes, bins: Sequence[Record], look: Look) -> None:
    x, y = [100 * b["confidence"] for b in bins], [100 * b["accuracy"] for b in bins]
    ax.plot(x, y, color=look.color, linewidth=0.8, alpha=0.8)
    sizes = [4 + 60 * b["share"] for b in bins]
    ax.scatter(x, y, s=sizes, color=look.color, marker=look.marker, linewidths=0, alpha=0.8)


def variance_shares(facts: Facts, folder: Path) -> Drawn | None:
    """What the variance of each difference from the reference is made of; None where no method has several seeds."""
    records = [r for r in facts.family("versus_reference") if r["shares"] and r["a"] not in facts.controls()]
    if not records:
        return None
    with panels(1, 1, 0.75 + 0.2 * len(records)) as (figure, axes):
        ax = axes[0][0]
        for height, record in enumerate(records):
            left = 0.0
            for part, color in zip(PARTS, PALETTE, strict=False):
                share = 100 * record["shares"][part]
                ax.barh(-height, share, left=left, height=0.7, color=color)
                left += share
        labels = [f"{facts.name(r['task'])}, {facts.name(r['receiver'])}: {facts.name(r['a'])}" for r in records]
        ax.set_yticks([-height for height in range(len(records))], labels)
        ax.tick_params(axis="y", length=0)
        ax.set(xlim=(0, 100), xlabel="share of the variance of the difference (%)")
        handles = [
            Line2D([], [], marker="s", linestyle="none", color=color, label=part)
            for part, color in zip(PARTS, PALETTE, strict=False)
        ]
        figure.legend(handles=handles, loc="outside lower center", ncols=3)
        paths = save(figure, folder, "variance_shares")
    return Drawn("variance_shares", tuple(paths), tuple(record["id"] for record in records))


def critical_difference(facts: Facts, folder: Path) -> Drawn | None:
    """Mean ranks over the tasks, a panel per receiver; None below six tasks, where no ranks are compared."""
    ranks = {key: record for key, record in facts.stats["ranks"].items() if record["reason"] is None}
    if not ranks:
        return None
    styles = _looks(facts)
    lines = max(len(record["methods"]) for record in ranks.values())
    with panels(1, len(ranks), 0.9 + 0.16 * lines) as (figure, axes):
        for ax, record in zip(axes[0], ranks.values(), strict=True):
            ordered = sorted(record["methods"].items(), key=lambda item: item[1])
            for height, (method, rank) in enumerate(ordered):
                look = styles[method]
                reach = rank + record["critical_difference"]
                ax.plot([rank, reach], [-height, -height], color=GREY, linewidth=0.8, zorder=0)
                ax.plot(rank, -height, color=look.color, marker=look.marker, linestyle="none")
            ax.set_yticks([-h for h in range(len(ordered))], [facts.name(method) for method, _ in ordered])
            ax.set_ylim(0.6 - len(ordered), 0.6)
            ax.set_xlabel("mean rank (line: critical difference)")
            ax.set_title(facts.name(record["model"]), loc="left")
        paths = save(figure, folder, "ranks")
    return Drawn("ranks", tuple(paths), tuple(ranks))


def _looks(facts: Facts) -> dict[str, Look]:
    methods = facts.stats["methods"]
    return looks(facts.stats["order"]["methods"], {key: method["control_of"] for key, method in methods.items()})
