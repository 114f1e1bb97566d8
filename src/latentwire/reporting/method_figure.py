"""The figure of the method: what a text goes through until a receiver answers, and which parts of it are trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch, Patch

from latentwire.reporting.fitting import wrap_text
from latentwire.reporting.number_format import count_of
from latentwire.reporting.report_data import ReportData
from latentwire.reporting.style import GREY, PALETTE, WIDE, DrawnFigure, open_panels, save_figure

FROZEN, TRAINED, DATA = ("#eeeeee", GREY), ("#cfe3f1", PALETTE[0]), ("#ffffff", "black")
"""Colours of a box: its face and its edge."""
SIZE = 6.5
"""Points of the letters."""
LINE = 0.125
"""Height of a line of words, in inches."""
PAD = 0.13
GAP = 0.2
"""Between two boxes, in inches, for an arrow; rows are as far apart."""
WIDTHS = (0.62, 0.98, 1.0, 0.86, 1.0, 1.0)
"""Of the boxes from the text to the receivers, in inches."""
LEGEND = 0.3
"""Height of the legend, in inches."""


@dataclass(frozen=True)
class _Box:
    """Words in a column; they are broken into lines that fit."""

    column: int
    words: Sequence[str]
    colors: tuple[str, str]

    @property
    def left(self) -> float:
        return sum(WIDTHS[: self.column]) + GAP * self.column

    @property
    def width(self) -> float:
        return WIDTHS[self.column]

    @property
    def label(self) -> str:
        return "\n".join(wrap_text(words, 72 * (self.width - 0.1), SIZE) for words in self.words)

    @property
    def height(self) -> float:
        return PAD + LINE * (1 + self.label.count("\n"))


def draw_method(data: ReportData, folder: Path) -> DrawnFigure:
    """The first trained wire: text, sender, encoder, wire, and a row of adapter and receiver for each reader."""
    chain, readers = _sending_boxes(data), _reading_boxes(data)
    rows = [max(box.height for box in pair) for pair in readers]
    height = max(sum(rows) + GAP * (len(rows) - 1), *(box.height for box in chain))
    with open_panels(1, 1, height + LEGEND + 0.1) as (figure, ((ax,),)):
        ax.set(xlim=(-0.03, WIDE + 0.03), ylim=(-0.03, height + 0.03))
        ax.axis("off")
        for box in chain:
            _draw_box(ax, box, height / 2)
        for one, other in pairwise(chain):
            _draw_arrow(ax, (one.left + one.width, height / 2), (other.left, height / 2))
        top = height - (height - sum(rows) - GAP * (len(rows) - 1)) / 2
        for pair, tall in zip(readers, rows, strict=True):
            _draw_reader(ax, pair, top - tall / 2, (chain[-1].left + chain[-1].width, height / 2))
            top -= tall + GAP
        handles = [Patch(facecolor=face, edgecolor=edge) for face, edge in (TRAINED, FROZEN)]
        figure.legend(handles, ["trained", "frozen"], loc="outside lower center", ncols=2)
        paths = save_figure(figure, folder, "method")
    return DrawnFigure("method", tuple(paths), ())


def _sending_boxes(data: ReportData) -> list[_Box]:
    setup, method = data.stats["setup"], data.methods_of_kind("wire")[0]
    about, sender = setup["methods"][method], setup["sender"]
    cost = next(c["bytes_per_example"] for c in data.stats["cells"].values() if c["method"] == method)
    read = (
        data.drawn_name(sender["name"]),
        f"up to {count_of(sender['max_tokens'], 'token')}, width {_width(about):,}",
    )
    wire = (f"{about['slots']:,} × {count_of(about['width'], 'number')}", count_of(round(cost), "byte"))
    encoder = (count_of(about["depth"], "block"), count_of(about["resampler"]["parameters"], "parameter"))
    return [
        _Box(0, ("Text",), DATA),
        _Box(1, ("Sender", *read), FROZEN),
        _Box(2, ("Encoder", *encoder), TRAINED),
        _Box(3, (data.drawn_name(method), *wire), DATA),
    ]


def _width(about: dict[str, dict[str, int]]) -> int:
    return about["resampler"]["model_width"]


def _reading_boxes(data: ReportData) -> list[tuple[_Box, _Box]]:
    method = data.methods_of_kind("wire")[0]
    adapters, models = data.stats["setup"]["methods"][method]["adapters"], data.stats["methods"][method]["models"]
    return [
        (
            _Box(4, ("Adapter", count_of(part["parameters"], "parameter")), TRAINED),
            _Box(5, ("Receiver", data.drawn_name(model), f"width {part['model_width']:,}"), FROZEN),
        )
        for model, part in ((model, adapters[model]) for model in models)
    ]


def _draw_reader(ax: Axes, pair: tuple[_Box, _Box], middle: float, wire: tuple[float, float]) -> None:
    """An adapter and its receiver, with arrows from the wire and to the answer."""
    adapter, receiver = pair
    end = receiver.left + receiver.width
    for box in pair:
        _draw_box(ax, box, middle)
    _draw_arrow(ax, wire, (adapter.left, middle))
    _draw_arrow(ax, (adapter.left + adapter.width, middle), (receiver.left, middle))
    _draw_arrow(ax, (end, middle), (end + GAP, middle))
    ax.text(end + GAP + 0.02, middle, "answer", size=SIZE, ha="left", va="center")


def _draw_box(ax: Axes, box: _Box, middle: float) -> None:
    face, edge = box.colors
    corner, style = (box.left, middle - box.height / 2), "round,pad=0,rounding_size=0.05"
    ax.add_patch(FancyBboxPatch(corner, box.width, box.height, boxstyle=style, fc=face, ec=edge, linewidth=0.8))
    ax.text(box.left + box.width / 2, middle, box.label, size=SIZE, ha="center", va="center", linespacing=1.25)


def _draw_arrow(ax: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    arrow = {"arrowstyle": "-|>", "linewidth": 0.8, "color": "black", "shrinkA": 0, "shrinkB": 0, "mutation_scale": 6}
    ax.annotate("", xy=end, xytext=start, arrowprops=arrow)
