"""Long names in figures: broken into lines and given room, so that no text covers another or leaves the canvas.

A figure in which everything fits is left as it is, to the byte. Text is measured as matplotlib draws it, because the
width of a name is not told by its letters.
"""

from __future__ import annotations

import pickle
import re
import warnings
from collections.abc import Callable, Iterator
from itertools import combinations

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg, RendererAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.legend import Legend
from matplotlib.text import Text
from matplotlib.ticker import FixedLocator
from matplotlib.transforms import Bbox, BboxBase

ROW_NAMES = 0.5
"""Share of a panel's width that the names of its rows may take."""
ROW_NAMES_OF_FIRST = 0.3
"""Share of the figure's width, where only the first of several columns has them."""
LEGEND_IN_AXES = 0.55
"""Share of a panel's width that its legend may take."""
MOST_COLUMNS = 6
MARK_AND_GAP = 5.0
"""What a column of a legend has beside its words, in sizes of its font."""
GROWTH = 1.2
SPARE = 1.1
MOST_GROWTHS = 8
"""Names of 60 letters need a few; names without end would need a page of their own."""
_TOLERANCE = 1.0  # pixels: boxes hold the white around letters too, which other renderers round differently
_PIECE = re.compile(r"(?:\\\$|[^ \-_/,:])*[ \-_/,:]?")  # up to a place where a line may end
_MEASURE = Figure(dpi=72)  # a pixel is a point
_LETTER = re.compile(r"\\\$|.", re.DOTALL)


def fit_names(figure: Figure) -> None:
    """Break what is too long and make the figure higher, until no text covers another; call it before saving."""
    # Laying a figure out moves its panels by parts of a pixel, so the question is asked of a copy.
    if not _is_crowded(pickle.loads(pickle.dumps(figure))):
        return
    _wrap_row_names(figure)
    for legend in figure.legends[:]:
        _fit_figure_legend(figure, legend)
    words = [(ax, ax.get_title("left"), ax.get_xlabel()) for ax in figure.axes]
    for ax in figure.axes:  # a title that is wider than its panel makes the layout narrow the panel
        ax.set_title("", loc="left")
        ax.set_xlabel("")
    _grow(figure, while_=_is_collapsed)  # the panels then have the width that they keep
    for ax, title, label in words:
        _wrap_texts_of_panel(ax, title, label)
    _grow(figure, while_=_is_crowded)
    figure.set_figheight(SPARE * figure.get_figheight())  # PDF and SVG round the height of a line otherwise


def wrap_text(text: str, width: float, size: float | str) -> str:
    """Break the lines of a text into some of at most `width` points: after blanks and `-_/,:`, else inside a word.

    Args:
        text: As matplotlib takes it; `\\$` stays together.
        width: In points.
        size: Of the font, in points.
    """
    lines = [short for line in text.split("\n") for short in _wrap_line(line, width, size)]
    return "\n".join(line.strip(" ") for line in lines if line.strip(" "))


def _wrap_line(line: str, width: float, size: float | str) -> list[str]:
    lines = [""]
    for piece in filter(None, _PIECE.findall(line)):
        if _measure_width(lines[-1] + piece.rstrip(" "), size) <= width:
            lines[-1] += piece
            continue
        lines += _split_word(piece, width, size)
    return lines


def list_text_boxes(figure: Figure) -> list[tuple[Text, Bbox]]:
    """Every text that is seen, with its box in pixels, as the figure was laid out last."""
    renderer = _open_renderer(figure)
    legends = [legend for legend in (*figure.legends, *(ax.get_legend() for ax in figure.axes)) if legend is not None]
    texts = [*(text for ax in figure.axes for text in _texts_of_panel(ax))]
    texts += [text for legend in legends for text in legend.get_texts()]
    return [(text, text.get_window_extent(renderer)) for text in texts if _is_seen(text)]


def _texts_of_panel(ax: Axes) -> Iterator[Text]:
    yield from (child for child in ax.get_children() if isinstance(child, Text))
    for axis in (ax.xaxis, ax.yaxis):
        yield axis.label
        low, high = sorted(axis.get_view_interval())
        # Ticks out of view have labels too, which are not drawn.
        yield from (tick.label1 for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high)


def is_overlapping(one: BboxBase, other: BboxBase) -> bool:
    """Whether two boxes share more than the white around letters."""
    shared = Bbox.intersection(one, other)
    return shared is not None and min(shared.width, shared.height) > _TOLERANCE


def is_inside(box: BboxBase, outer: BboxBase) -> bool:
    """Whether a box leaves another one nowhere."""
    return (
        min(box.x0 - outer.x0, box.y0 - outer.y0) >= -_TOLERANCE
        and max(box.x1 - outer.x1, box.y1 - outer.y1) <= _TOLERANCE
    )


def _is_crowded(figure: Figure) -> bool:
    if _is_collapsed(figure):
        return True
    boxes = [box for _, box in list_text_boxes(figure)]
    inside = all(is_inside(box, figure.bbox) for box in boxes) and all(map(_holds_its_legend, figure.axes))
    return not inside or any(is_overlapping(*pair) for pair in combinations(boxes, 2))


def _is_collapsed(figure: Figure) -> bool:
    """Whether the names leave the panels no room at all, of which matplotlib warns."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        for _ in range(2):  # the second layout starts from the first, and it is the one that a file shows
            figure.draw_without_rendering()
    return bool(said)


def _grow(figure: Figure, while_: Callable[[Figure], bool]) -> None:
    for _ in range(MOST_GROWTHS):
        if not while_(figure):
            return
        figure.set_figheight(GROWTH * figure.get_figheight())


def _holds_its_legend(ax: Axes) -> bool:
    legend = ax.get_legend()
    return legend is None or is_inside(legend.get_window_extent(), ax.get_window_extent())


def _is_seen(text: Text) -> bool:
    return text.get_visible() and bool(text.get_text().strip())


def _fit_figure_legend(figure: Figure, legend: Legend) -> None:
    """As many columns as the widest name has room for, and lines where one column is too narrow."""
    whole, texts = 0.9 * 72 * figure.get_figwidth(), legend.get_texts()
    size = texts[0].get_fontsize()
    widest = max(_measure_width(text.get_text(), size) for text in texts) + MARK_AND_GAP * float(size)
    columns = max(1, min(MOST_COLUMNS, len(texts), int(whole / widest)))
    labels = [wrap_text(text.get_text(), whole - MARK_AND_GAP * float(size), size) for text in texts]
    legend.remove()
    figure.legend(handles=legend.legend_handles, labels=labels, loc="outside lower center", ncols=columns)


def _wrap_legend(legend: Legend, width: float) -> None:
    for text in legend.get_texts():
        text.set_text(wrap_text(text.get_text(), width, text.get_fontsize()))


def _wrap_row_names(figure: Figure) -> None:
    named = list(_axes_with_row_names(figure))
    columns = {ax.get_subplotspec().colspan.start for ax in figure.axes}  # type: ignore[union-attr]
    several = len(columns) > 1
    alone = several and len({ax.get_subplotspec().colspan.start for ax in named}) == 1  # type: ignore[union-attr]
    share = ROW_NAMES_OF_FIRST if alone else ROW_NAMES / len(columns)
    for ax in named:
        labels = ax.get_yticklabels()
        width = 72 * share * figure.get_figwidth()
        ax.set_yticklabels([wrap_text(text.get_text(), width, text.get_fontsize()) for text in labels])


def _axes_with_row_names(figure: Figure) -> Iterator[Axes]:
    for ax in figure.axes:
        if isinstance(ax.yaxis.get_major_locator(), FixedLocator) and any(map(_is_seen, ax.get_yticklabels())):
            yield ax


def _wrap_texts_of_panel(ax: Axes, title: str, label: str) -> None:
    width = 72 * ax.get_window_extent().width / ax.figure.dpi
    above, below = ax.set_title(title, loc="left"), ax.xaxis.label
    above.set_text(wrap_text(title, width, above.get_fontsize()))
    ax.set_xlabel(wrap_text(label, width, below.get_fontsize()))
    legend = ax.get_legend()
    if legend is not None:
        _wrap_legend(legend, LEGEND_IN_AXES * width)


def _split_word(piece: str, width: float, size: float | str) -> list[str]:
    """A piece that is wider than a line, by letters; the last part is the beginning of the next line."""
    parts = [""]
    for letter in _LETTER.findall(piece):
        if parts[-1] and _measure_width(parts[-1] + letter.rstrip(" "), size) > width:
            parts.append("")
        parts[-1] += letter
    return parts


def _measure_width(text: str, size: float | str) -> float:
    """Width in points."""
    if not text:
        return 0.0
    renderer = _open_renderer(_MEASURE)
    return float(renderer.get_text_width_height_descent(text.replace(r"\$", "$"), FontProperties(size=size), False)[0])


def _open_renderer(figure: Figure) -> RendererAgg:
    renderer: RendererAgg = FigureCanvasAgg(figure).get_renderer()
    return renderer
