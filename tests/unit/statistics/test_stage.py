"""The stage `aggregate` in a repository, and what it leaves there."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

from latentwire.stages import aggregate, exit_code
from tests.unit.statistics.made_up import digest


def test_its_files(repository: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(repository)
    assert exit_code(aggregate.main, []) == 0
    assert "20 cells and 46 differences" in capsys.readouterr().out
    folder = repository / "results/aggregate"
    assert sorted(path.name for path in folder.iterdir()) == [
        "accuracy.csv",
        "curves.csv",
        "metrics.json",
        "stats.json",
    ]
    stats = json.loads((folder / "stats.json").read_text())
    shown = json.loads((folder / "metrics.json").read_text())
    for cell in stats["cells"].values():
        assert shown[cell["task"]][cell["model"]][cell["method"]] == cell["value"]
        assert cell["signature"].endswith("|v:1")
    assert list(pd.read_csv(folder / "accuracy.csv").columns[:4]) == ["cell", "task", "model", "method"]
    assert set(pd.read_csv(folder / "curves.csv")["seed"]) == {0, 1, 2}


def test_a_refusal_is_exit_1_with_one_sentence(
    repository: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(repository)
    shutil.rmtree(repository / "results/evaluate/wire-r8-2")
    assert exit_code(aggregate.main, []) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "2 of 28 files are missing: results/evaluate/wire-r8-2/predictions.parquet" in error


def test_damage_in_a_journal_is_named(
    repository: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(repository)
    path = repository / "results/train/wire-r8-0/journal.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"step": 7,', b'"step": 9,', 1))
    assert exit_code(aggregate.main, []) == 1
    assert "Line 7 of results/train/wire-r8-0/journal.jsonl" in capsys.readouterr().err


def test_the_same_bytes_twice(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(repository)
    found = []
    for _ in range(2):
        aggregate.main([])
        found.append({path.name: path.read_bytes() for path in (repository / "results/aggregate").iterdir()})
    assert found[0] == found[1]


def test_folders_outside_the_grid_change_nothing(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(repository)
    aggregate.main([])
    before = (repository / "results/aggregate/stats.json").read_bytes()
    shutil.copytree(repository / "results/evaluate/wire-r8-0", repository / "results/evaluate/wire-r8-77")
    aggregate.main([])
    assert (repository / "results/aggregate/stats.json").read_bytes() == before


def test_a_number_can_be_computed_again_from_its_sources(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By hand, from the files that a cell names: mean over seeds and examples, and the digests beside it."""
    monkeypatch.chdir(repository)
    aggregate.main([])
    stats = json.loads(Path("results/aggregate/stats.json").read_text())
    golds = pd.read_parquet("results/prepare/r8/examples.parquet").set_index("example_id")["label"]
    cell = stats["cells"]["r8/gemma3/wire/accuracy"]
    shares = []
    for path in cell["sources"]:
        rows = pd.read_parquet(path).query("method == 'wire' and model == 'gemma3'")
        shares.append((rows["prediction"].to_numpy() == golds.loc[rows["example_id"]].to_numpy()).mean())
        assert stats["sources"][path]["checkpoint"] == digest(Path(path).parent.name)
    assert cell["value"] == pytest.approx(sum(shares) / 3, abs=1e-9)
    assert list(cell["per_seed"].values()) == pytest.approx(shares, abs=1e-9)
