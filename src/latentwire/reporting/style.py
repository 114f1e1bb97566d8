"""One style for all figures: colours for colour-blind readers, a marker per series, no clock in the files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from latentwire.output_files import replace_file
from latentwire.reporting.fitting import fit_names
from latentwire.reporting.report_data import ReportData

WIDE = 6.75
"""Width of two columns, in inches."""
HALF = 3.3
"""Width of one of two figures side by side."""
PALETTE = ("#0173b2", "#de8f05", "#029e73", "#d55e00", "#cc78bc", "#ca9161", "#56b4e9", "#949494")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "h")
GREY = "#6e6e6e"
Dashes = Literal["-", "--", "-.", ":"] | tuple[float, tuple[float, ...]]
_LONG, _SHORT, _DOT = (6.0, 1.5), (3.0, 1.5), (1.0, 1.5)
DASHES: tuple[Dashes, ...] = (
    *("-", "--", "-.", ":"),
    *((0.0, pattern) for pattern in ((8.0, 2.0), (2.0, 2.0), (5.0, 5.0), (1.0, 4.0))),
    *((0.0, _LONG + _DOT * dots) for dots in (1, 2, 3)),
    *((0.0, _LONG + _SHORT * dashes) for dashes in (1, 2, 3)),
    *((0.0, _SHORT * 2 + _DOT * dots) for dots in (1, 2)),
)
"""Lines of as many methods as these are told apart whatever their colours are."""

STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 7,
    "axes.labelsize": 7,
    "axes.titlesize": 7.5,
    "xtick.labelsize": 6.5,
    "ytick.labelsize": 6.5,
    "legend.fontsize": 6.5,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.7,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "lines.linewidth": 1.0,
    "lines.markersize": 4.0,
    "pdf.fonttype": 42,
    "svg.hashsalt": "latentwire",
    "figure.dpi": 100,
    "savefig.dpi": 250,
    "axes.unicode_minus": True,
}
CLOCKLESS: Mapping[str, Mapping[str, None]] = {
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    "png": {"Software": None},
    "svg": {"Date": None, "Creator": None, "Format": None, "Type": None},
}


@dataclass(frozen=True)
class DrawnFigure:
    """Files of one figure and the ids of the numbers in it."""

    name: str
    paths: tuple[Path, ...]
    ids: tuple[str, ...]


@dataclass(frozen=True)
class SeriesStyle:
    """Colour and marker of a series; a control has the hue of its method and an empty marker."""

    color: str
    marker: str
    filled: bool = True

    @property
    def face(self) -> str:
        return self.color if self.filled else "white"


def assign_styles(keys: list[str], controls: Mapping[str, str | None]) -> dict[str, SeriesStyle]:
    """A style for every key, in order; `controls` maps a control to its method."""
    styles: dict[str, SeriesStyle] = {}
    for number, key in enumerate(key for key in keys if not controls.get(key)):
        # A colour that comes again has another marker.
        marker = MARKERS[(number + number // len(PALETTE)) % len(MARKERS)]
        styles[key] = SeriesStyle(PALETTE[number % len(PALETTE)], marker)
    for key in keys:
        owner = controls.get(key)
        if owner:
            styles[key] = SeriesStyle(styles[owner].color, styles[owner].marker, filled=False)
    return styles


def method_styles(data: ReportData) -> dict[str, SeriesStyle]:
    """The style of every method; the same in all figures."""
    return assign_styles(data.methods, {method: data.control_of(method) for method in data.methods})


@contextmanager
def open_panels(
    rows: int, columns: int, height: float, width: float = WIDE
) -> Iterator[tuple[Figure, list[list[Axes]]]]:
    """A figure of rows × columns axes, `height` and `width` inches in all, in the common style."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(STYLE)
        figure = Figure(figsize=(width, height), layout=ConstrainedLayoutEngine(h_pad=0.06))
        yield figure, [list(line) for line in figure.subplots(rows, columns, squeeze=False)]


def save_figure(figure: Figure, folder: Path, name: str) -> list[Path]:
    """Write `name`.pdf, `name`.png and `name`.svg, the same bytes for the same content.

    Call it inside `open_panels`, which sets what the bytes depend on.
    """
    fit_names(figure)
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}.{kind}" for kind in CLOCKLESS]
    for path, metadata in zip(paths, CLOCKLESS.values(), strict=True):
        with replace_file(path) as partial:
            figure.savefig(partial, metadata=dict(metadata))
    return paths
