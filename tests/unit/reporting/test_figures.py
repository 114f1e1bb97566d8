"""What stands in a figure is what stands in the statistics."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from matplotlib.figure import Figure

from latentwire.reporting import figures, figures_quality
from latentwire.reporting.figures import LOSS, _draw_bars, _draw_seeds, _draw_strips, draw_figures
from latentwire.reporting.figures_quality import draw_rank_differences, draw_variance_shares, pareto_front
from latentwire.reporting.fitting import fit_names
from latentwire.reporting.report_data import ReportData, read_report_data
from latentwire.reporting.style import MARKERS, PALETTE, SeriesStyle, assign_styles
from tests.support import synthetic_predictions
from tests.unit.reporting.printing import print_paper

PANELS = {
    "loss": (figures._draw_loss, figures._loss_handles),
    "validation": (figures._draw_validation, figures._validation_handles),
}


@pytest.fixture(scope="module")
def data(aggregated: Path) -> ReportData:
    return read_report_data(aggregated / "results/aggregate", synthetic_predictions.NAMES)


def test_intervals_are_drawn_as_computed(data: ReportData) -> None:
    ax = Figure().subplots()
    numbers = [{"value": 0.9, "low": 0.7, "high": 0.92}, {"value": 0.5, "low": None, "high": None}]
    _draw_bars(data, ax, [{"method": "wire"}, {"method": "text"}], numbers)
    first, second = ax.containers
    assert first[0].get_xdata() == pytest.approx([90])
    assert first[2][0].get_segments()[0][:, 0] == pytest.approx([70, 92])
    assert second[0].get_xdata() == pytest.approx([50])
    assert not second.has_xerr
    assert [label.get_text() for label in ax.get_yticklabels()] == ["Wire", "Text (zero-shot)"]


def test_seeds_are_drawn_as_they_are_and_nothing_is_estimated(
    data: ReportData, monkeypatch: pytest.MonkeyPatch
) -> None:
    """seaborn draws a line per seed; the mean and the range are those of the seeds, not intervals of its own."""
    monkeypatch.delattr("seaborn._statistics.bootstrap")
    curves, ax = data.curves, Figure().subplots()
    runs = curves[(curves["task"] == "r8") & (curves["series"] == LOSS)]
    wide = runs.pivot(index="step", columns="seed", values="value")
    _draw_seeds(ax, runs, SeriesStyle(PALETTE[0], "o"))
    *seeds, mean = [line.get_ydata() for line in ax.lines]
    assert sorted(map(list, seeds)) == sorted(wide[seed].tolist() for seed in wide)
    assert mean == pytest.approx(wide.mean(axis=1).to_numpy())
    band = {(x, y) for x, y in ax.collections[0].get_paths()[0].vertices.tolist()}
    for edge in (wide.min(axis=1), wide.max(axis=1)):
        assert set(zip(edge.index.astype(float), edge, strict=True)) <= band


def test_one_seed_is_one_line(data: ReportData) -> None:
    curves, ax = data.curves, Figure().subplots()
    runs = curves[(curves["task"] == "r8") & (curves["series"] == LOSS) & (curves["seed"] == 0)]
    _draw_seeds(ax, runs, SeriesStyle(PALETTE[0], "o"))
    assert [line.get_ydata().tolist() for line in ax.lines] == [runs["value"].tolist()]
    assert not ax.collections


def test_single_seeds_stand_beside_their_interval(data: ReportData) -> None:
    ax, cell = Figure().subplots(), data.get_cell("r8/gemma3/wire/accuracy")
    _draw_strips(data, ax, [{"method": "text"}, {"method": "wire"}], [{"per_seed": {}}, cell])
    (strip,) = [drawn for drawn in ax.collections if len(drawn.get_offsets())]
    assert strip.get_offsets()[:, 0].tolist() == pytest.approx([100 * share for share in cell["per_seed"].values()])
    assert strip.get_offsets()[:, 1].tolist() == pytest.approx([0.32 - 1] * 3)


def test_series_differ_in_marker_and_colour_and_controls_are_empty() -> None:
    styles = assign_styles(["wire", "text", "probe", "wire-shuffled"], {"wire-shuffled": "wire"})
    assert [style.color for style in styles.values()] == [*PALETTE[:3], PALETTE[0]]
    assert [style.marker for style in styles.values()] == [*MARKERS[:3], MARKERS[0]]
    assert [style.face for style in styles.values()] == [*PALETTE[:3], "white"]


@pytest.mark.long
def test_figures_name_the_numbers_in_them(data: ReportData, tmp_path: Path) -> None:
    drawn = {figure.name: figure for figure in draw_figures(data, tmp_path)}
    judged = {key for key, cell in data.stats["cells"].items() if cell["metric"] == "accuracy"}
    assert set(drawn["accuracy"].ids) == judged
    differences = {record["id"] for record in data.reference_differences()}
    assert len(differences) == 28
    assert differences < set(drawn["differences"].ids)
    assert set(drawn["pareto"].ids) == {key for key in judged if not data.control_of(key.split("/")[2])}
    assert set(drawn["calibration"].ids) < set(data.stats["calibration"])
    assert len(drawn["variance_shares"].ids) == 8
    assert set(drawn["learning_curves"].ids) == set(data.stats["runs"])
    assert "ranks" not in drawn
    assert all(path.stat().st_size > 5000 for figure in drawn.values() for path in figure.paths)


def test_the_front_holds_what_nothing_cheaper_beats() -> None:
    costs = [(0, 0.5), (10, 0.4), (10, 0.7), (40, 0.7), (90, 0.9)]
    cells = [{"bytes_per_example": cost, "value": value} for cost, value in costs]
    assert pareto_front(cells) == [(0, 0.5), (10, 0.7), (90, 0.9)]


def test_ranks_are_drawn_from_six_tasks_on(data: ReportData, tmp_path: Path) -> None:
    ranks = {"wire": 1.2, "text": 2.0, "probe": 2.8}
    record = {"reason": None, "model": "smollm2", "methods": ranks, "critical_difference": 1.1}
    changed = ReportData({**data.stats, "ranks": {"all-tasks/smollm2/ranks": record}}, data.curves, data.names)
    drawn = draw_rank_differences(changed, tmp_path)
    assert drawn is not None
    assert drawn.ids == ("all-tasks/smollm2/ranks",)
    assert [path.name for path in drawn.paths] == ["ranks.pdf", "ranks.png", "ranks.svg"]
    assert r"\includegraphics{figures/ranks.pdf}" in print_paper(changed, "Title")
    assert r"\includegraphics{figures/ranks.pdf}" not in print_paper(data, "Title")


def test_one_seed_has_no_variance_shares_to_draw(data: ReportData, tmp_path: Path) -> None:
    stats = {**data.stats, "comparisons": {k: {**c, "shares": None} for k, c in data.stats["comparisons"].items()}}
    changed = ReportData(stats, data.curves, data.names)
    assert draw_variance_shares(changed, tmp_path) is None
    assert "fig:shares" not in print_paper(changed, "Title")


def test_no_two_methods_look_alike() -> None:
    keys = [f"method {number}" for number in range(24)]
    styles = assign_styles(keys, dict.fromkeys(keys))
    assert len({(style.color, style.marker) for style in styles.values()}) == len(keys)


@pytest.mark.parametrize("count", [1, 4, 5, 8, 14])
@pytest.mark.parametrize("panel", ["loss", "validation"])
def test_no_two_curves_of_a_panel_look_alike(
    panel: str, count: int, data: ReportData, monkeypatch: pytest.MonkeyPatch
) -> None:
    methods = [f"more {number}" for number in range(count)]
    curves = data.curves[(data.curves["task"] == "r8") & (data.curves["seed"] == 0)]
    own = curves[curves["method"] == "wire"]
    stats = {
        **data.stats,
        "methods": {**data.stats["methods"], **dict.fromkeys(methods, data.stats["methods"]["wire"])},
    }
    changed = ReportData(stats, pd.concat([own.assign(method=method) for method in methods]), data.names)
    monkeypatch.setattr(ReportData, "main_methods", methods)
    monkeypatch.setattr(ReportData, "methods", methods)
    ax, draw, handles = Figure().subplots(), *PANELS[panel]
    runs = changed.curves
    draw(changed, ax, runs[(runs["series"] == LOSS) == (panel == "loss")])
    for lines in (ax.lines, handles(changed)):
        looks = {(line.get_color(), str(line._unscaled_dash_pattern)) for line in lines}
        assert len(looks) == len(lines) == count * (1 if panel == "loss" else len(data.receivers))


@pytest.mark.parametrize("count", [1, 4, 8, 14])
def test_every_method_has_a_panel_for_its_confidence(
    count: int, data: ReportData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    block = data.get_block("r8", "smollm2")["rows"]
    shown = (*(row["method"] for row in block), *(f"more {number}" for number in range(14)))
    methods = [key for key in shown if key not in (*data.control_methods, data.get_setting("chance"))][:count]
    monkeypatch.setattr(ReportData, "methods", methods)
    monkeypatch.setattr(ReportData, "control_methods", [])
    titles: list[str] = []
    heights: list[float] = []

    def keep(figure: Figure, *_: object) -> list[Path]:
        titles.extend(ax.get_title("left") for ax in figure.axes)
        fit_names(figure)
        heights.append(figure.get_figheight())
        return []

    monkeypatch.setattr(figures_quality, "save_figure", keep)
    drawn = figures_quality.draw_calibration(data, tmp_path)
    assert titles == list(map(data.display_name, methods))
    assert heights[0] < 6
    assert set(drawn.ids) <= set(data.stats["calibration"])
