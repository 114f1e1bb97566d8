"""Wires at fewer bits, from parameters to verdicts: variants of a trained method, each at its own bytes."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from latentwire.errors import EvidenceError
from latentwire.params.load import load_params
from latentwire.reporting.figures_quality import draw_pareto_front
from latentwire.reporting.report_data import ReportData, read_report_data
from latentwire.statistics.comparisons import StatsRecord
from latentwire.statistics.grid import expected_grid
from latentwire.verification.disproofs import find_disproofs
from tests.support.synthetic_predictions import NAMES, QUANTISED, aggregate, build
from tests.unit.reporting.printing import print_paper, print_tables

ANSWERS = "results/evaluate/wire-r8-0"
PRECISIONS = ("int8", "int4")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("precisions")
    build(root, seeds=(0, 1, "permuted-0"), count=240, precisions=PRECISIONS)
    return root


@pytest.fixture(scope="module")
def stats(built: Path) -> StatsRecord:
    return aggregate(built)


@pytest.fixture
def data(built: Path, stats: StatsRecord) -> ReportData:
    return read_report_data(built / "results/aggregate", NAMES)


@pytest.fixture
def repository(built: Path, tmp_path: Path) -> Path:
    shutil.copytree(built, tmp_path / "repo")
    return tmp_path / "repo"


def test_they_are_rows_of_the_trained_method_and_no_trained_methods(built: Path) -> None:
    grid = expected_grid(load_params(built / "params.yaml"))
    assert [method.name for method in grid.trained()] == ["wire"]
    variants = {m.name: (m.stored_with, m.control_of, m.models) for m in grid.methods.values() if m.quantised_of}
    assert variants == dict.fromkeys(QUANTISED, ("wire", None, ("smollm2", "gemma3")))
    permuted = [item for item in grid.items() if item.method == "wire-permuted"]
    assert permuted
    assert not any(grid.quantised_names(item) for item in permuted)


def test_each_has_its_own_bytes_and_is_an_ablation_of_the_method(stats: StatsRecord) -> None:
    for task in ("rotten_tomatoes", "r8"):
        for model in ("smollm2", "gemma3"):
            cells = {name: stats["cells"][f"{task}/{model}/{name}/accuracy"] for name in ("wire", *QUANTISED)}
            assert {n: cell["bytes_per_example"] for n, cell in cells.items()} == {"wire": 3072.0, **QUANTISED}
            assert cells["wire-int4"]["sees"] == cells["wire"]["sees"]
            family = stats["families"]["ablations"]["members"]
            assert {f"{task}/{model}/wire-vs-{name}/accuracy" for name in QUANTISED} <= set(family)
    assert stats["comparisons"]["r8/gemma3/wire-vs-wire-int4/accuracy"]["adjusted"]["verdict"] == "better"
    block = next(block for block in stats["blocks"] if (block["task"], block["receiver"]) == ("r8", "gemma3"))
    assert block["cost_ratio"]["wire-int4"] == pytest.approx(864 / 131.4)
    assert {row["method"] for rows in stats["main"] for row in rows["rows"]} >= set(QUANTISED)


@pytest.mark.long
def test_without_precisions_nothing_names_them(tmp_path: Path) -> None:
    build(tmp_path, seeds=(0,), count=60)
    assert "quantised" not in json.dumps(aggregate(tmp_path))
    assert "quantised" not in (tmp_path / ANSWERS / "meta.json").read_text()


@pytest.mark.long
def test_the_report_prints_them(data: ReportData, tmp_path: Path) -> None:
    assert data.trained_methods == ["wire"]
    tables = {table.name: table.text for table in print_tables(data)}
    for name in ("main.tex", "r8.tex", "ablations.tex"):
        assert {"Wire (int8)", "Wire (int4)"} <= set(re.findall(r"Wire \(int\d\)", tables[name])), name
    assert "its wire at fewer bits" in " ".join(tables["ablations.tex"].split())
    assert "int8, 1,632 bytes; int4, 864 bytes" in " ".join(tables["setup.tex"].split())
    assert "Wire (int4)" in print_paper(data, "Title")
    drawn = draw_pareto_front(data, tmp_path)
    assert "r8/gemma3/wire-int4/accuracy" in drawn.ids


def edit_meta(root: Path, **facts: Any) -> None:
    path = root / ANSWERS / "meta.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | facts))


@pytest.mark.parametrize("sizes", [{}, {"wire-int8": 1632.0}, {**QUANTISED, "wire-int2": 1.0}])
def test_sizes_that_are_missing_or_too_many_are_refused(sizes: dict[str, float], repository: Path) -> None:
    edit_meta(repository, quantised=sizes)
    with pytest.raises(EvidenceError, match=r"wire-r8-0/.* has the bytes of .* at fewer bits, expected wire-int4"):
        aggregate(repository)


def test_answers_that_are_missing_are_refused(repository: Path) -> None:
    path = repository / ANSWERS / "predictions.parquet"
    frame = pd.read_parquet(path)
    frame[frame["method"] != "wire-int4"].to_parquet(path, index=False)
    with pytest.raises(EvidenceError, match=r"holds the methods .*expected .*wire-int4"):
        aggregate(repository)


def test_bytes_that_do_not_follow_from_the_parameters_are_disproved(repository: Path) -> None:
    values = load_params(repository / "params.yaml")
    assert "quantised" not in find_disproofs(repository, values).get("evaluate@wire-r8-0", "")
    edit_meta(repository, quantised={**QUANTISED, "wire-int4": 768.0})
    said = find_disproofs(repository, values)["evaluate@wire-r8-0"]
    assert "meta.json has quantised" in said
    assert "params.yaml makes it" in said
