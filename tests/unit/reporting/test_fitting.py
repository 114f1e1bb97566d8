"""Names of any length that params.yaml takes: no text of a figure covers another or leaves the canvas."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pytest
from matplotlib.axis import XTick, YTick
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from latentwire.params.printed_names import MOST_LETTERS
from latentwire.reporting.figures import draw_figures
from latentwire.reporting.fitting import wrap_text
from latentwire.reporting.report_data import ReportData, read_report_data
from latentwire.reporting.style import STYLE, DrawnFigure
from tests.support import synthetic_predictions

PHRASES = {
    "words": "Wide adapter_with several-latent channels of a former language model",
    "one word": "Interlingua" * 6,
}

MeasuredText = tuple[str, Bbox, Bbox]
"""Words, their box, and the canvas."""


@pytest.fixture(scope="module")
def data(aggregated: Path) -> ReportData:
    return read_report_data(aggregated / "results/aggregate", synthetic_predictions.NAMES)


@pytest.fixture
def saved(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[MeasuredText]]:
    """Figure → words, box and canvas of every text in it, measured as that kind of file draws it."""
    boxes: dict[str, list[MeasuredText]] = {}
    save = Figure.savefig

    def measured(figure: Figure, path: Path, **options: Any) -> None:
        save(figure, path, **options)
        figure.set_dpi(STYLE["savefig.dpi"] if path.suffix == ".png" else 72)
        figure.draw_without_rendering()
        renderer = FigureCanvasAgg(figure).get_renderer()
        texts = [text for text in _list_texts(figure) if text.get_visible() and text.get_text().strip()]
        boxes[path.name] = [(t.get_text(), t.get_window_extent(renderer), figure.bbox.frozen()) for t in texts]
        figure.set_dpi(STYLE["figure.dpi"])

    monkeypatch.setattr(Figure, "savefig", measured)
    return boxes


def _list_texts(figure: Figure) -> Iterator[Text]:
    """Every text but the labels of ticks out of view."""
    hidden = {
        id(tick.label1)
        for tick in figure.findobj(lambda artist: isinstance(artist, (XTick, YTick)))
        for low, high in [sorted(tick.get_view_interval())]  # type: ignore[attr-defined]
        if not low <= tick.get_loc() <= high  # type: ignore[attr-defined]
    }
    yield from (text for text in figure.findobj(Text) if isinstance(text, Text) and id(text) not in hidden)


def _with_ranks(data: ReportData, **names: str) -> ReportData:
    methods = {key: 1.2 + number for number, key in enumerate(data.methods[:4])}
    common = {"reason": None, "methods": methods, "critical_difference": 1.1}
    ranks = {f"all-tasks/{model}/ranks": {**common, "model": model} for model in data.receivers}
    return ReportData({**data.stats, "ranks": ranks}, data.curves, {**data.names, **names})


@pytest.mark.long
@pytest.mark.filterwarnings("error:constrained_layout")
@pytest.mark.parametrize("phrase", PHRASES)
def test_no_text_covers_another_or_leaves_the_canvas(
    phrase: str, data: ReportData, saved: dict[str, list[MeasuredText]], tmp_path: Path
) -> None:
    keys = (*data.methods, *data.tasks, *data.receivers)
    names = {key: f"{number} {PHRASES[phrase]}"[:MOST_LETTERS].strip() for number, key in enumerate(keys)}
    drawn = draw_figures(_with_ranks(data, **names), tmp_path)
    assert len(drawn) == 8
    assert any("Wide" in words or "Inter" in words for texts in saved.values() for words, *_ in texts)
    assert {name: faults for name, texts in saved.items() if (faults := _faults(texts))} == {}


@pytest.mark.long
def test_a_figure_in_which_nothing_needs_room_keeps_its_bytes(
    data: ReportData, saved: dict[str, list[MeasuredText]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With ordinary names, that is most figures; in none does a text cover another once it has its room."""
    with_room = draw_figures(_with_ranks(data), tmp_path / "one")
    assert _crowded(with_room, saved) == set()
    monkeypatch.setattr("latentwire.reporting.style.fit_names", lambda _: None)
    without = draw_figures(_with_ranks(data), tmp_path / "other")
    changed = {one.name for one, other in zip(with_room, without, strict=True) if _read(one) != _read(other)}
    assert changed <= _crowded(without, saved)
    assert len(changed) < len(without) / 2


def _read(figure: DrawnFigure) -> list[bytes]:
    return [path.read_bytes() for path in figure.paths]


def _crowded(figures: Sequence[DrawnFigure], saved: dict[str, list[MeasuredText]]) -> set[str]:
    """Names of the figures in a file of which a text covers another or leaves the canvas, as they were saved last."""
    files = [(figure.name, saved[f".partial-{path.name}"]) for figure in figures for path in figure.paths]
    return {name for name, texts in files if _faults(texts)}


def _faults(texts: Sequence[MeasuredText]) -> list[Any]:
    """Words that leave the canvas, and pairs of words of which one covers the other."""
    outside = [words for words, box, canvas in texts if not _holds(canvas, box)]
    return [*outside, *((one[0], other[0]) for one, other in combinations(texts, 2) if _share(one[1], other[1]))]


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("short", ["short"]),
        ("two words", ["two", "words"]),
        ("task_with-marks", ["task_", "with-", "marks"]),
        (r"a\$b\$c\$d\$e\$", [r"a\$b\$", r"c\$d\$", r"e\$"]),
        ("unbreakable", ["unbrea", "kable"]),
        ("", []),
    ],
)
def test_a_text_is_broken_where_a_name_may_end(text: str, lines: list[str]) -> None:
    with mpl.rc_context(STYLE):
        assert wrap_text(text, 26 if "$" not in text else 19, 7).split("\n") == (lines or [""])


def _holds(canvas: Bbox, box: Bbox) -> bool:
    return bool(min(box.x0, box.y0) >= -1 and box.x1 <= canvas.x1 + 1 and box.y1 <= canvas.y1 + 1)


def _share(one: Bbox, other: Bbox) -> bool:
    shared = Bbox.intersection(one, other)
    return shared is not None and bool(min(shared.width, shared.height) > 1)
