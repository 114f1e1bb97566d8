"""Methods that are trained less often than the others: what is compared, and on which seeds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from latentwire.params.load import load_params
from latentwire.statistics.bootstrap import BootstrapPlan, match_seeds
from latentwire.statistics.comparisons import StatsRecord
from latentwire.statistics.grid import expected_grid
from tests.support.scores import scores
from tests.support.synthetic_predictions import aggregate, build

METRICS = {"r8": "macro_f1"}


def _aggregate(root: Path, seeds: tuple[int, ...]) -> StatsRecord:
    values = build(root, seeds, count=120, ablation_seeds=(0,))
    values["aggregate"]["metrics"] = METRICS
    (root / "params.yaml").write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
    return aggregate(root)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ablations") / "repository"


@pytest.fixture(scope="module")
def stats(root: Path) -> StatsRecord:
    return _aggregate(root, (0, 1, 2))


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> StatsRecord:
    """As if the main method had no other seeds."""
    return _aggregate(tmp_path_factory.mktemp("alone") / "repository", (0,))


def test_an_ablation_has_the_probe_and_no_controls(root: Path, stats: StatsRecord) -> None:
    grid = expected_grid(load_params(root / "params.yaml"))
    assert [method for method in grid.methods if method.startswith("wire_1")] == ["wire_1", "wire_1-probe"]
    assert grid.methods["wire_1"].seeds == (0,)
    assert grid.methods["wire"].seeds == (0, 1, 2)
    assert not any(name.startswith("wire_1") for sets in grid.unseen.values() for name in sets)
    assert stats["cells"]["r8/gemma3/wire_1/accuracy"]["bytes_per_example"] == 384


@pytest.mark.parametrize("task", ["rotten_tomatoes", "r8"])
def test_it_is_compared_on_the_seeds_that_both_have(task: str, stats: StatsRecord, alone: StatsRecord) -> None:
    """By accuracy and by a metric that is resampled."""
    metric = METRICS.get(task, "accuracy")
    key = f"{task}/gemma3/wire-vs-wire_1/{metric}"
    assert key in stats["families"]["ablations"]["members"]
    both = {**stats["comparisons"][key]}, {**alone["comparisons"][key]}
    for record in both:
        del record["adjusted"]  # the families have other members
    assert both[0] == both[1]
    assert both[0]["S"] == 1
    assert both[0]["estimand"] == "this checkpoint"


def test_its_cells_say_that_one_training_does_not_show_how_trainings_vary(stats: StatsRecord) -> None:
    cells: dict[str, Any] = stats["cells"]
    assert {cell["seed_variance"] for cell in cells.values() if cell["method"] == "wire_1"} == {"not estimated"}
    assert {cell["seed_variance"] for cell in cells.values() if cell["method"] == "wire"} == {"estimated"}


def test_seeds_are_matched_where_both_have_some() -> None:
    plan, values = BootstrapPlan(100, 1), np.array([[1.0, 0, 1], [0, 0, 1], [1, 1, 1]])
    three, none = scores("three", values), scores("none", values[:1], seeds=False)
    one = replace(scores("one", values[:1]), seeds=(1,))
    a, b = match_seeds(three, one, plan)
    assert a.values.tolist() == [[0, 0, 1]]
    assert a.seeds == (1,)
    assert b is one
    assert match_seeds(three, none, plan) == (three, none)
    other = replace(one, seeds=(7,))
    assert match_seeds(three, other, plan) == (three, other)
