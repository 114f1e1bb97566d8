"""The end of `make repro` and the README print what the paper prints."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from latentwire.cli import run
from latentwire.headline import headline_cells, headline_markdown
from latentwire.reporting.document import plain_text
from latentwire.reporting.main_table import build_main_table
from latentwire.reporting.report_data import ReportData, read_report_data
from latentwire.reporting.tables import build_task_table
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


def test_without_statistics_it_says_what_to_type(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    with pytest.raises(SystemExit, match="1"):
        run(["results", "--root", str(tmp_path)])
    assert "dvc repro aggregate" in capsys.readouterr().err


def test_only_the_text_between_the_marks_changes(data: ReportData) -> None:
    written = with_part(f"before\n{BEGIN}old\n{END}after\n", TABLE, headline_markdown(data))
    assert written.startswith(f"before\n{BEGIN}\n| Receiver | Method |")
    assert written.endswith(f" |\n\n{END}after\n")
    assert with_part(written, TABLE, headline_markdown(data)) == written


@pytest.mark.parametrize("text", ["", BEGIN, END + BEGIN, BEGIN + BEGIN + END])
def test_a_page_without_the_marks_is_refused(text: str) -> None:
    with pytest.raises(SystemExit, match="no place for the main table"):
        with_part(text, TABLE, "| |\n")
