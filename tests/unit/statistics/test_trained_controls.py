"""Permuted labels, probes on wires and unseen words: from files to verdicts."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from latentwire.errors import EvidenceError
from latentwire.item import TrainItem
from latentwire.params.load import load_params
from latentwire.reporting.report_data import read_report_data
from latentwire.statistics.comparisons import StatsRecord, settings_from_section
from latentwire.statistics.control_records import CONTROL, control_records
from latentwire.statistics.evidence import Evidence, gather_evidence
from latentwire.statistics.families import comparison_families, correct_family
from latentwire.statistics.grid import Grid, expected_grid
from latentwire.statistics.unseen_records import UNSEEN, unseen_records
from tests.support.synthetic_predictions import NAMES, aggregate, build
from tests.unit.reporting.printing import print_paper, print_tables

COUNT = 240
PERMUTED = "results/evaluate/wire-r8-permuted-{}/predictions.parquet"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("controls")
    build(root, seeds=(0, 1, 2, "permuted-0"), count=COUNT)
    return root


@pytest.fixture(scope="module")
def built_thrice(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With three trainings on permuted labels, and one on the right ones."""
    root = tmp_path_factory.mktemp("permuted")
    build(root, seeds=(0, "permuted-0", "permuted-1", "permuted-2"), count=COUNT)
    return root


@pytest.fixture
def repository(built: Path, tmp_path: Path) -> Path:
    shutil.copytree(built, tmp_path / "repo")
    return tmp_path / "repo"


@pytest.fixture
def thrice(built_thrice: Path, tmp_path: Path) -> Path:
    shutil.copytree(built_thrice, tmp_path / "repo")
    return tmp_path / "repo"


def _gather(root: Path) -> tuple[Evidence, Grid]:
    grid = expected_grid(load_params(root / "params.yaml"))
    return gather_evidence(root / "results", grid), grid


def _controls(root: Path) -> dict[str, StatsRecord]:
    settings = settings_from_section(load_params(root / "params.yaml").aggregate)
    records = control_records(*_gather(root), settings)
    correct_family("controls", list(records), records, settings, CONTROL)
    return records


def _edit(path: Path, change: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    change(pd.read_parquet(path)).to_parquet(path, index=False)


def test_items_and_folders_of_permuted_seeds(built: Path) -> None:
    values = load_params(built / "params.yaml")
    names = [item.name for item in TrainItem.all(values) if item.task == "r8"]
    assert names == ["wire-r8-0", "wire-r8-1", "wire-r8-2", "wire-r8-permuted-0"]
    item = TrainItem.of(values, "wire", "r8", "permuted-0")
    assert (item.seed, item.permuted, item.answers_as) == (0, True, "wire-permuted")
    assert not TrainItem.of(values, "wire", "r8", 1).permuted
    folders = [item.folder for item in expected_grid(values).items() if item.task == "r8" and item.seed is not None]
    assert folders == [f"evaluate/{name}" for name in names]


def test_a_grid_without_permuted_seeds_has_no_such_control(built: Path) -> None:
    values = load_params(built / "params.yaml")
    plain = values.model_copy(update={"train": values.train.model_copy(update={"seeds": (0, 1)})})
    assert "wire-permuted" in expected_grid(values).methods
    assert "wire-permuted" not in expected_grid(plain).methods


def test_honest_trainings_on_permuted_labels_are_at_their_chance(built_thrice: Path) -> None:
    found = _permuted(_controls(built_thrice))
    assert len(found) == 4
    assert {record["adjusted"]["verdict"] for record in found.values()} == {"no leak shown"}


def _permuted(records: Mapping[str, StatsRecord]) -> dict[str, StatsRecord]:
    return {key: record for key, record in records.items() if record["method"] == "wire-permuted"}


def _leak(root: Path, seed: int) -> None:
    """A third of one receiver's answers are right, with the scores that say so."""
    golds = pd.read_parquet(root / "results/prepare/r8/examples.parquet").set_index("example_id")["label"]
    labels = np.array(list(load_params(root / "params.yaml").tasks["r8"].labels))

    def leak(frame: pd.DataFrame) -> pd.DataFrame:
        for index in frame.index[frame["model"] == "gemma3"][::3]:
            gold = golds.loc[frame.at[index, "example_id"]]
            frame.at[index, "prediction"] = gold
            frame.at[index, "scores"] = np.where(labels == gold, -0.5, -2.0)
        return frame

    _edit(root / PERMUTED.format(seed), leak)


def test_a_leak_into_them_is_flagged(thrice: Path) -> None:
    for seed in range(3):
        _leak(thrice, seed)
    verdicts = {key: record["adjusted"]["verdict"] for key, record in _controls(thrice).items()}
    assert [key for key, said in verdicts.items() if said == "leak"] == ["r8/gemma3/wire-permuted-vs-permuted/accuracy"]
    assert len(verdicts) == 12


def test_one_training_has_no_verdict_whatever_it_answers(repository: Path) -> None:
    """It may be luck, and only another training would tell; what is tested is not corrected for it."""
    _leak(repository, 0)
    stats = aggregate(repository)
    once = _permuted(stats["controls"])
    assert once["r8/gemma3/wire-permuted-vs-permuted/accuracy"]["value"] > 0.1
    for record in once.values():
        assert (record["S"], record["p"], record["low"], record["high"]) == (1, None, None, None)
        assert (record["adjusted"]["verdict"], record["adjusted"]["p"]) == ("one training", None)
    assert (stats["families"]["controls"]["m"], len(stats["families"]["controls"]["members"])) == (8, 12)


@pytest.mark.long
def test_the_report_says_that_one_training_was_not_tested(thrice: Path) -> None:
    """Here the shuffled wire, noise and the unseen words have one training each."""
    for seed in range(3):
        _leak(thrice, seed)
    stats = aggregate(thrice)
    assert (stats["families"]["controls"]["m"], stats["families"]["unseen"]["m"]) == (4, 0)
    assert {record["adjusted"]["verdict"] for record in stats["unseen"].values()} == {"one training"}
    data = read_report_data(thrice / "results/aggregate", NAMES)
    paper = print_paper(data, "Title").replace("\n", " ")
    assert paper.count("trained once, so that none of 4 cases has a verdict.") == 2
    assert "above its permuted answers in 1 of 4 cases; the control fails" in paper
    assert "the answers of one training were not tested" in paper
    tables = {table.name: table.text.replace("\n", " ") for table in print_tables(data)}
    for name, count in (("controls.tex", 8), ("unseen.tex", 12)):
        assert len(re.findall(r"& one training ?\\\\", tables[name])) == count, tables[name]
        assert "This test was chosen after the result of an earlier one had been seen." in tables[name]


def test_a_missing_permuted_training_is_no_smaller_table(repository: Path) -> None:
    (repository / PERMUTED.format(0)).unlink()
    with pytest.raises(EvidenceError, match=r"wire-r8-permuted-0/predictions\.parquet"):
        _gather(repository)


def test_words_that_a_wire_knows_are_above_chance_and_others_not(built: Path) -> None:
    values = load_params(built / "params.yaml")
    evidence, grid = _gather(built)
    settings = settings_from_section(values.aggregate)
    records = unseen_records(evidence, grid, settings)
    correct_family("unseen", list(records), records, settings, UNSEEN)
    assert len(records) == 2 * 2 * 3
    for key, record in records.items():
        said = record["adjusted"]["verdict"]
        assert said == ("above chance" if "/wire-unseen-1/" in key else "not shown"), key
        assert record["low"] <= record["value"] <= record["high"]
        assert record["excess"]["value"] == pytest.approx(record["value"] - record["expected"])
        assert record["excess"]["low"] <= record["excess"]["value"] <= record["excess"]["high"]
        assert (record["S"], record["N"], record["method"]) == (3, COUNT, "wire")
    words = records["rotten_tomatoes/smollm2/wire-unseen-2/accuracy"]["words"]
    assert words == {"0": "terrible", "1": "great"}


def test_they_are_methods_of_no_other_table(built: Path) -> None:
    evidence, grid = _gather(built)
    assert not any("unseen" in name for name in grid.methods)
    assert not any("unseen" in name for _, _, name in evidence.scores)
    assert {name for _, _, name in evidence.unseen} == {f"wire-unseen-{number}" for number in (1, 2, 3)}


@pytest.mark.parametrize("lost", ["wire-unseen-2", "wire-probe"])
def test_a_set_that_was_not_asked_is_refused(repository: Path, lost: str) -> None:
    _edit(repository / "results/evaluate/wire-r8-0/predictions.parquet", lambda frame: frame[frame["method"] != lost])
    with pytest.raises(EvidenceError, match=rf"expected .*{lost}"):
        _gather(repository)


def test_the_readout_and_the_probe_are_compared_with_the_wire_once(built: Path) -> None:
    """What is trained against what is trained with the same labels, and what the receivers lose of the wire."""
    families = comparison_families(expected_grid(load_params(built / "params.yaml")), "calibrated")
    where = {name: {(a, b) for *_, a, b in pairs} for name, pairs in families.items()}
    assert [name for name, pairs in where.items() if ("wire", "readout") in pairs] == ["versus_baselines"]
    assert [name for name, pairs in where.items() if ("wire", "wire-probe") in pairs] == ["ablations"]
    assert not any(("wire-probe", "wire") in pairs or ("readout", "wire") in pairs for pairs in where.values())
