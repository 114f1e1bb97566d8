"""A task is judged by the metric that it declares, and metrics that disagree are said to, in words."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml

from latentwire.reporting.document import Document, Paragraph, iterate_texts, plain_text
from latentwire.reporting.paper import build_paper
from latentwire.reporting.report_data import ReportData, read_report_data
from latentwire.reporting.tables import build_tables
from tests.support.synthetic_predictions import NAMES, aggregate, build

SAID = "balanced accuracy −32.1 [−35.0, −29.0]"


def paper(data: ReportData) -> Document:
    return build_paper(data, "Title", build_tables(data))


def words(document: Document, name: str) -> str:
    """All words of a table."""
    table = next(table for table in document.tables if table.name == name)
    return " ".join(plain_text(text) for text in iterate_texts(table))


def test_a_claim_whose_metrics_disagree_says_so_wherever_it_stands(aggregated: Path, tmp_path: Path) -> None:
    shutil.copytree(aggregated / "results/aggregate", tmp_path, dirs_exist_ok=True)
    assert "metrics disagree" not in str(paper(read_report_data(tmp_path, NAMES)).blocks)
    stats = json.loads((tmp_path / "stats.json").read_text(encoding="utf-8"))
    record = stats["comparisons"]["r8/gemma3/wire-vs-text/accuracy"]
    record["opposed"] = ["balanced_accuracy"]
    record["metrics"]["balanced_accuracy"] = {"value": -0.321, "low": -0.35, "high": -0.29}
    (tmp_path / "stats.json").write_text(json.dumps(stats), encoding="utf-8")
    document = paper(read_report_data(tmp_path, NAMES))
    abstract = next(b for b in document.blocks if isinstance(b, Paragraph) and b.kind == "abstract")
    assert f"but {SAID}: the metrics disagree" in plain_text(abstract.text)
    for table in ("r8", "versus_baselines"):
        assert "‡: by another metric the other method is ahead (Gemma-3-270M, Wire minus Text" in words(document, table)
        assert SAID in words(document, table)
        assert words(document, table).count("‡") == 2
    assert "‡" not in words(document, "rotten_tomatoes")


@pytest.fixture(scope="module")
def by_f1(tmp_path_factory: pytest.TempPathFactory) -> ReportData:
    """A report of which R8 is judged by macro-F1."""
    root = tmp_path_factory.mktemp("by-f1")
    values = build(root, count=60)
    values["aggregate"]["metrics"] = {"r8": "macro_f1"}
    (root / "params.yaml").write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
    aggregate(root)
    return read_report_data(root / "results/aggregate", NAMES)


@pytest.mark.long
def test_a_task_is_judged_by_its_metric_and_the_others_stand_beside(by_f1: ReportData) -> None:
    document = paper(by_f1)
    table = next(table for table in document.tables if table.name == "r8")
    assert plain_text(table.caption).startswith("Macro-F1 (%) on Reuters R8")
    heads = [plain_text(column.header) for column in table.columns]
    assert heads[:6] == ["Method", "Labels", "Seeds", "Acc.", "Bal. acc.", "F1"]
    row = table.groups[0].rows[0]
    shown = {plain_text(cell) for cell in row.cells}
    for metric in by_f1.metrics:
        assert f"{100 * by_f1.get_cell(f'r8/smollm2/wire/{metric}')['value']:.1f}" in shown
        assert f"r8/smollm2/wire/{metric}" in row.ids
    main = next(table for table in document.tables if table.name == "main")
    assert plain_text(main.caption).startswith(
        "Scores (%) over all tasks: accuracy on Rotten Tomatoes and macro-F1 on Reuters R8."
    )
    first = plain_text(next(b for b in document.blocks if isinstance(b, Paragraph)).text)
    assert "points of macro-F1 [" in first


def test_verdicts_and_means_are_those_of_the_metric(by_f1: ReportData) -> None:
    for family in ("versus_chance", "versus_baselines", "versus_reference"):
        for record in by_f1.get_family(family):
            assert record["metric"] == by_f1.metric_of(record["task"])
            assert record["value"] == pytest.approx(record["metrics"][record["metric"]]["value"])
    mean = by_f1.get_average("all-tasks/gemma3/wire/own_metrics")["value"]
    parts = [
        by_f1.get_cell(key)["value"] for key in ("rotten_tomatoes/gemma3/wire/accuracy", "r8/gemma3/wire/macro_f1")
    ]
    assert mean == pytest.approx(sum(parts) / 2)
