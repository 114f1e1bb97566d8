"""Recall by class, what is said instead, and what the abstract says of costs: all from the stored predictions."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from sklearn.metrics import confusion_matrix, recall_score

from latentwire.reporting.claims import cost_sentence
from latentwire.reporting.class_tables import MOST_CLASSES, build_class_tables, list_errors
from latentwire.reporting.document import plain_text
from latentwire.reporting.report_data import ReportData, read_report_data
from tests.support.synthetic_predictions import NAMES


@pytest.fixture
def data(aggregated: Path) -> ReportData:
    return read_report_data(aggregated / "results/aggregate", NAMES)


@pytest.mark.long
def test_recall_and_confusions_are_those_of_scikit_learn(aggregated: Path, data: ReportData) -> None:
    golds = pd.read_parquet(aggregated / "results/prepare/r8/examples.parquet").set_index("example_id")["label"]
    record = data.stats["classes"]["r8/gemma3/wire/classes"]
    rows = pd.concat(
        [
            pd.read_parquet(aggregated / path).query("method == 'wire' and model == 'gemma3'")
            for path in record["sources"]
        ]
    )
    right, labels = golds.loc[rows["example_id"]], list(record["recall"])
    recall = recall_score(right, rows["prediction"], labels=labels, average=None)
    assert list(record["recall"].values()) == pytest.approx(list(recall), abs=1e-9)
    counts = confusion_matrix(right, rows["prediction"], labels=labels)
    assert [[record["said"][gold].get(said, 0) for said in labels] for gold in labels] == counts.tolist()
    table = next(table for table in build_class_tables(data) if table.name == "recall_r8")
    printed = [plain_text(row.cells[2]) for row in table.groups[data.receivers.index("gemma3")].rows]
    assert sorted(printed) == sorted(f"{100 * share:.1f}" for share in recall)


def test_a_class_that_is_never_right_is_named(data: ReportData) -> None:
    record = data.stats["classes"]["r8/gemma3/wire/classes"]
    record["never_right"] = ["grain", "ship"]
    record["said"]["earn"]["acq"] = 999
    said = " ".join(map(plain_text, list_errors(data, "wire")))
    assert (
        "Reuters R8, Gemma-3-270M: never right for 2 of 8 classes (grain, ship) and most often acq for earn, 999"
        in said
    )


def test_a_task_of_many_classes_shows_the_largest(data: ReportData) -> None:
    about = data.stats["tasks"]["r8"]
    about["counts"] = {f"class {number:02d}": 100 - number for number in range(40)}
    for key, record in data.stats["classes"].items():
        if key.startswith("r8/"):
            record["said"] = {label: {label: 1} for label in about["counts"]}
            record["recall"] = dict.fromkeys(about["counts"], 1.0)
    table = next(table for table in build_class_tables(data) if table.name == "recall_r8")
    assert [plain_text(row.cells[0]) for row in table.groups[0].rows] == [f"class {n:02d}" for n in range(MOST_CLASSES)]
    assert f"{MOST_CLASSES} classes with most test texts of 40" in plain_text(table.notes[0])


def test_the_abstract_says_what_the_wire_costs_and_what_dominates_it(aggregated: Path, tmp_path: Path) -> None:
    shutil.copytree(aggregated / "results/aggregate", tmp_path, dirs_exist_ok=True)
    stats = json.loads((tmp_path / "stats.json").read_text(encoding="utf-8"))
    data = ReportData(stats, pd.DataFrame(), NAMES)
    said = plain_text(cost_sentence(data, "wire"))
    ratio = f"{3072 / 131.4:.1f} times"
    assert said.startswith(
        f"An example costs Wire {ratio} on Rotten Tomatoes and {ratio} on Reuters R8 the bytes of Text"
    )
    assert "as much or more is scored for no more bytes by " in said
    assert "; Linear probe everywhere; " in said
    for block in stats["blocks"]:
        block["dominated"]["wire"] = []
    assert plain_text(cost_sentence(data, "wire")).endswith("; nothing that costs no more scores as much.\n")
