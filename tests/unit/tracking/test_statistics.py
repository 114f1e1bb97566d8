"""The statistics of aggregate as one MLflow run: every number, the files, the runs they came from; once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from latentwire.tracking.statistics import log_statistics
from latentwire.tracking.store import locate_store
from tests.support.mlflow_database import ITEM, Database, records

STATS: dict[str, Any] = {
    "cells": [
        {"method": "wire", "model": "a", "accuracy": 0.75, "n": 600, "rejected": True, "note": None},
        {"method": "text", "model": "a", "accuracy": 0.5, "n": 600, "rejected": False, "note": None},
    ],
    "alpha": 0.05,
}
NUMBERS = {
    "statistics/alpha": 0.05,
    "statistics/cells.wire-a.accuracy": 0.75,
    "statistics/cells.wire-a.n": 600.0,
    "statistics/cells.wire-a.rejected": 1.0,
    "statistics/cells.text-a.accuracy": 0.5,
    "statistics/cells.text-a.n": 600.0,
    "statistics/cells.text-a.rejected": 0.0,
}


@pytest.fixture
def files(tmp_path: Path) -> dict[str, list[Path]]:
    """Figures, a table, a paper."""
    made = {"figures": ["a.png", "a.pdf"], "tables": ["main.tex"], "": ["paper.pdf"]}
    for names in made.values():
        for name in names:
            (tmp_path / name).write_text(f"content of {name}")
    return {folder: [tmp_path / name for name in names] for folder, names in made.items()}


def log(database: Database, files: dict[str, list[Path]], stats: dict[str, Any] = STATS) -> str:
    sources = {ITEM.name: ITEM.identity, "wire-r8-1": "f" * 64}
    return log_statistics(stats, {"scipy": "1.0"}, sources, files, experiment="toy", root=database.root)


def artifacts(database: Database) -> dict[str, str]:
    root = database.root / "mlartifacts"
    return {
        str(Path(*path.relative_to(root).parts[2:])): path.read_text() for path in root.rglob("*") if path.is_file()
    }


def test_everything_is_there(database: Database, files: dict[str, list[Path]]) -> None:
    source = ITEM.open(locate_store(database.root), "toy", print)
    source.send(records(1, 2))
    source.close("FINISHED")
    run_id = log(database, files)
    assert database.runs() == [("wire-r8-0", "FINISHED"), ("statistics", "FINISHED")]
    rows = database.rows(f"select key, value from metrics where run_uuid = '{run_id}'")
    assert dict(rows) == NUMBERS
    found = artifacts(database)
    expected = {name: f"content of {Path(name).name}" for name in ("figures/a.png", "figures/a.pdf", "tables/main.tex")}
    assert found.items() >= {**expected, "paper.pdf": "content of paper.pdf"}.items()
    assert json.loads(found["stats.json"]) == STATS
    assert json.loads(found["signature.json"]) == {"scipy": "1.0"}
    assert json.loads(found["sources.json"]) == {"wire-r8-0": source.run_id, "wire-r8-1": "f" * 64}
    tags = dict(database.rows(f"select key, value from tags where run_uuid = '{run_id}'"))
    assert tags["source.wire-r8-0"] == source.run_id
    assert tags["source.wire-r8-1"] == "f" * 64


def test_twice_adds_nothing_and_the_report_adds_its_files(database: Database, files: dict[str, list[Path]]) -> None:
    first = log(database, {})  # aggregate, which has no figures yet
    assert set(artifacts(database)) == {"stats.json", "signature.json", "sources.json"}
    second = log(database, files)  # report
    tables = "runs", "metrics", "tags", "params"
    before = [database.rows(f"select * from {table}") for table in tables]
    found = artifacts(database)
    third = log(database, files)
    assert first == second == third
    assert [database.rows(f"select * from {table}") for table in tables] == before
    assert artifacts(database) == found
    assert len(found) == 7


def test_other_statistics_are_another_run(database: Database) -> None:
    assert log(database, {}) != log(database, {}, {**STATS, "alpha": 0.01})
    assert database.runs() == [("statistics", "FINISHED")] * 2


def test_only_some_sections_become_metrics(database: Database) -> None:
    log_statistics(STATS, {}, {}, {}, experiment="toy", root=database.root, sections=["cells"])
    assert {key for key, _, _ in database.points()} == set(NUMBERS) - {"statistics/alpha"}
    assert json.loads(artifacts(database)["stats.json"]) == STATS
