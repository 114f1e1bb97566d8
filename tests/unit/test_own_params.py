"""The params.yaml of an experiment with stages of its own: what it must have, and who takes it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from latentwire.errors import ConfigurationError
from latentwire.item import TrainItem, defining_params
from latentwire.params.load import load_any_params, load_params
from latentwire.params.own import OwnParams
from latentwire.result_code import STAGES, result_code, result_stages, stage_program
from tests.support.own_experiment import VALUES

Change = Callable[[dict[str, Any]], Any]


def write(root: Path, change: Change = lambda _: None) -> Path:
    values = copy.deepcopy(VALUES)
    change(values)
    path = root / "params.yaml"
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    return path


def test_own_keys_are_kept_and_define_a_training(tmp_path: Path) -> None:
    values = load_any_params(write(tmp_path))
    assert isinstance(values, OwnParams)
    defining = defining_params(values, TrainItem.of(values, "deep", "parity", "1"))
    assert defining["method"] == {"width": 4}
    assert defining["train"] == {"steps": 3, "mode": "exact", "lr": 0.25}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda v: v["train"].pop("seeds"), "`train.seeds` is missing"),
        (lambda v: v.update(modles={}), "unknown key `modles`"),
        (lambda v: v["stages"].update(encode="a.b"), "unknown key `stages.encode`; expected one of baseline, eval"),
        (lambda v: v["stages"].update(train="a b; rm"), "`stages.train`: String should match"),
        (lambda v: v["aggregate"].update(reference="other"), "aggregate.reference names 'other', which is not among"),
        (lambda v: v["prepare"].update(tasks=["other"]), "prepare.tasks names 'other', which is not among parity"),
        (lambda v: v["baseline"]["methods"].append("deep"), "train.methods names 'deep', which is a baseline"),
        (lambda v: v["report"]["names"].update(flat="Deep"), "report.names has 'Deep' for deep and flat"),
    ],
)
def test_what_the_other_stages_need_is_checked(change: Change, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_any_params(write(tmp_path, change))
    assert sentence in str(caught.value)


def test_what_reads_texts_refuses_it_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"names `stages` of its own.*Next: docs/adopt\.md"):
        load_params(write(tmp_path))


def test_the_code_of_a_stage_is_that_of_its_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert stage_program("train", tmp_path) == "latentwire.stages.train"
    assert result_stages(tmp_path) == list(STAGES)
    write(tmp_path)
    assert stage_program("train", tmp_path) == "latentwire.stages.aggregate"
    assert stage_program("report", tmp_path) == "latentwire.stages.report"
    assert result_stages(tmp_path) == [stage for stage in STAGES if stage != "encode"]
    monkeypatch.chdir(tmp_path)
    assert "latentwire.statistics.summary" in result_code("train")
    assert "latentwire.pipeline.train" not in result_code("train")
