"""The end of `make repro` and the README print what the paper prints."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from latentwire.cli import run
from latentwire.headline import (
    COMPUTED,
    headline_cells,
    headline_markdown,
    list_places,
    read_headline,
    summary_markdown,
)
from latentwire.reporting.document import plain_text
from latentwire.reporting.main_table import build_main_table
from latentwire.reporting.report_data import ReportData, read_report_data
from latentwire.reporting.tables import build_task_table
from latentwire.verification.published import STATS_FILE
from tests.support.synthetic_predictions import NAMES
from tools.readme import BEGINNINGS, TABLE, with_part

ROOT = Path(__file__).parents[3]

BEGIN, END = BEGINNINGS[TABLE], "<!-- end of the main table -->\n"


@pytest.fixture
def data(aggregated: Path) -> ReportData:
    return read_report_data(aggregated / "results/aggregate", NAMES)


@pytest.mark.long
def test_every_row_of_the_main_table_is_there_with_its_receiver(data: ReportData) -> None:
    heads, rows = headline_cells(data)
    table = build_main_table(data)
    assert len(rows) == sum(len(group.rows) for group in table.groups)
    assert {row[0] for row in rows} == {NAMES[receiver] for receiver in data.receivers}
    assert heads[1:] == [plain_text(column.header) for column in table.columns]
    assert rows[0][1:] == [plain_text(cell) for cell in table.groups[0].rows[0].cells]


def test_with_one_task_its_own_table_is_the_main_one(data: ReportData) -> None:
    task = data.tasks[0]
    alone = replace(data, stats={**data.stats, "main": [], "tasks": {task: data.stats["tasks"][task]}})
    heads, rows = headline_cells(alone)
    assert "Mean" not in heads
    assert len(rows) == sum(len(group.rows) for group in build_task_table(alone, task).groups) > 0


def test_the_command_prints_table_places_and_next_steps(
    aggregated: Path, data: ReportData, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="0"):
        run(["results", "--root", str(aggregated)])
    printed = capsys.readouterr().out
    for row in headline_cells(data)[1]:
        assert all(cell in printed for cell in row)
    assert "results/aggregate/stats.json" in printed
    assert "reports/paper.pdf" not in printed, "what is not there is not promised"
    assert "latentwire verify" in printed
    assert "mlflow" not in printed, "there are no runs"
    assert "none of these numbers" not in printed


def test_the_runs_are_shown_where_there_are_any(tmp_path: Path) -> None:
    for name in (COMPUTED, "mlflow.db"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert [line for line in list_places(tmp_path) if "mlflow ui" in line and "sqlite:///mlflow.db" in line]


def test_in_a_fresh_clone_it_says_whose_numbers_these_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("params.yaml", STATS_FILE):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    with pytest.raises(SystemExit, match="0"):
        run(["results", "--root", str(tmp_path)])
    said = capsys.readouterr().out
    assert "Calibrated text" in said
    assert said.splitlines()[-1] == "published; none of these numbers was computed here yet. Next: `make repro`"
    for other in ("mlflow", "latentwire verify", "dvc exp run"):
        assert other not in said


def test_without_statistics_it_says_what_to_type(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    with pytest.raises(SystemExit, match="1"):
        run(["results", "--root", str(tmp_path)])
    assert "dvc repro aggregate" in capsys.readouterr().err


def test_the_summary_names_the_best_baseline_of_every_place(data: ReportData) -> None:
    lines = [line.strip("| ").split(" | ") for line in summary_markdown(data).splitlines()]
    best = {place: max(scores, key=lambda name: scores[name]) for place, scores in _baseline_scores(data).items()}
    assert len(lines) == 2 + len(best)
    for (task, receiver), cells in zip(best, lines[2:], strict=True):
        assert cells[0].startswith(data.display_name(task))
        assert cells[1] == data.display_name(receiver)
        name, score = cells[5].rsplit(": ", 1)
        assert name == data.display_name(best[task, receiver])
        assert abs(float(score) / 100 - _baseline_scores(data)[task, receiver][best[task, receiver]]) < 6e-4


def _baseline_scores(data: ReportData) -> dict[tuple[str, str], dict[str, float]]:
    """Of the methods that read something and are not trained here, for each task and receiver."""
    methods = {record["b"] for record in data.get_family("versus_baselines")}
    return {
        (block["task"], block["receiver"]): {
            row["method"]: data.get_cell(row["cell"])["value"] for row in block["rows"] if row["method"] in methods
        }
        for block in data.stats["blocks"]
    }


def test_the_summary_has_the_scores_and_differences_that_are_published() -> None:
    data = read_headline(ROOT)
    method, reference = data.main_methods[0], data.get_setting("reference")
    lines = summary_markdown(data).splitlines()[2:]
    assert len(lines) == len(data.tasks) * len(data.receivers)
    for line in lines:
        _, receiver, own, other, delta, *_ = line.strip("| ").split(" | ")
        assert receiver in {data.display_name(key) for key in data.receivers}
        assert delta.startswith(("+", "\N{MINUS SIGN}"))
        signed = float(delta.split(" [")[0].replace("\N{MINUS SIGN}", "-"))
        assert abs(float(own) - float(other) - signed) < 0.11, (method, reference)


def test_only_the_text_between_the_marks_changes(data: ReportData) -> None:
    written = with_part(f"before\n{BEGIN}old\n{END}after\n", TABLE, headline_markdown(data))
    assert written.startswith(f"before\n{BEGIN}\n| Receiver | Method |")
    assert written.endswith(f" |\n\n{END}after\n")
    assert with_part(written, TABLE, headline_markdown(data)) == written


@pytest.mark.parametrize("text", ["", BEGIN, END + BEGIN, BEGIN + BEGIN + END])
def test_a_page_without_the_marks_is_refused(text: str) -> None:
    with pytest.raises(SystemExit, match="no place for the main table"):
        with_part(text, TABLE, "| |\n")
