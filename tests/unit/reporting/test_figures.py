"""What stands in a figure is what stands in the statistics."""

from __future__ import annotations

from pathlib import Path

import pytest
from matplotlib.figure import Figure

from latentwire.reporting.facts import Facts, read
from latentwire.reporting.figures import _bars, all_figures
from latentwire.reporting.figures_quality import critical_difference, front, variance_shares
from latentwire.reporting.paper import paper
from latentwire.reporting.style import MARKERS, PALETTE, looks
from tests.support import synthetic_predictions


@pytest.fixture(scope="module")
def facts(aggregated: Path) -> Facts:
    return read(aggregated / "results/aggregate", synthetic_predictions.NAMES)


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
    assert set(drawn["pareto"].ids) == {key for key in facts.stats["cells"] if "shuffled" not in key}
    assert set(drawn["calibration"].ids) < set(facts.stats["calibration"])
    assert len(drawn["variance_shares"].ids) == 4
    assert set(drawn["learning_curves"].ids) == set(facts.stats["runs"])
    assert "ranks" not in drawn
    assert all(path.stat().st_size > 5000 for figure in drawn.values() for path in figure.paths)


def test_the_front_holds_what_nothing_cheaper_beats() -> None:
    costs = [(0, 0.5), (10, 0.4), (10, 0.7), (40, 0.7), (90, 0.9)]
    cells = [{"bytes_per_example": cost, "value": value} for cost, value in costs]
    assert front(cells) == [(0, 0.5), (10, 0.7), (90, 0.9)]


def test_ranks_are_drawn_from_six_tasks_on(facts: Facts, tmp_path: Path) -> None:
    ranks = {"wire": 1.2, "text": 2.0, "probe": 2.8}
    record = {"reason": None, "model": "smollm2", "methods": ranks, "critical_difference": 1.1}
    changed = Facts({**facts.stats, "ranks": {"all-tasks/smollm2/ranks": record}}, facts.curves, facts.names)
    drawn = critical_difference(changed, tmp_path)
    assert drawn is not None
    assert drawn.ids == ("all-tasks/smollm2/ranks",)
    assert [path.name for path in drawn.paths] == ["ranks.pdf", "ranks.png", "ranks.svg"]
    assert r"\includegraphics{figures/ranks.pdf}" in paper(changed, "Title")
    assert r"\includegraphics{figures/ranks.pdf}" not in paper(facts, "Title")


def test_one_seed_has_no_variance_shares_to_draw(facts: Facts, tmp_path: Path) -> None:
    stats = {**facts.stats, "comparisons": {k: {**c, "shares": None} for k, c in facts.stats["comparisons"].items()}}
    changed = Facts(stats, facts.curves, facts.names)
    assert variance_shares(changed, tmp_path) is None
    assert "fig:shares" not in paper(changed, "Title")
