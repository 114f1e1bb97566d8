"""What stands in a figure is what stands in the statistics."""

from __future__ import annotations

from pathlib import Path

import pytest
from matplotlib.figure import Figure

from latentwire.reporting.facts import Facts, read
from latentwire.reporting.figures import _bars, all_figures
from latentwire.reporting.style import MARKERS, PALETTE, looks
from tests.unit.statistics import made_up


@pytest.fixture(scope="module")
def facts(aggregated: Path) -> Facts:
    return read(aggregated / "results/aggregate", made_up.NAMES)


def test_intervals_are_drawn_as_computed(facts: Facts) -> None:
    ax = Figure().subplots()
    numbers = [{"value": 0.9, "low": 0.7, "high": 0.92}, {"value": 0.5, "low": None, "high": None}]
    _bars(facts, ax, [{"method": "wire"}, {"method": "text"}], numbers)
    first, second = ax.containers
    assert first[0].get_xdata() == pytest.approx([90])
    assert first[2][0].get_segments()[0][:, 0] == pytest.approx([70, 92])
    assert second[0].get_xdata() == pytest.approx([50])
    assert not second.has_xerr
    assert [label.get_text() for label in ax.get_yticklabels()] == ["Wire", "Text (zero-shot)"]


def test_series_differ_in_marker_and_colour_and_controls_are_empty() -> None:
    found = looks(["wire", "text", "probe", "wire-shuffled"], {"wire-shuffled": "wire"})
    assert [look.color for look in found.values()] == [*PALETTE[:3], PALETTE[0]]
    assert [look.marker for look in found.values()] == [*MARKERS[:3], MARKERS[0]]
    assert [look.face for look in found.values()] == [*PALETTE[:3], "white"]


def test_figures_name_the_numbers_in_them(facts: Facts, tmp_path: Path) -> None:
    drawn = {figure.name: figure for figure in all_figures(facts, tmp_path)}
    assert set(drawn["accuracy"].ids) == set(facts.stats["cells"])
    without_controls = {k for k in facts.stats["families"]["versus_reference"]["members"] if "shuffled" not in k}
    assert without_controls < set(drawn["differences"].ids)
    assert all(path.stat().st_size > 5000 for figure in drawn.values() for path in figure.paths)
