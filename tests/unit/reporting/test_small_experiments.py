"""A report is written of whatever the parameters allow, down to one task, one training and the majority class."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from latentwire.errors import ConfigurationError
from latentwire.headline import headline_markdown, summary_markdown
from latentwire.params.load import load_params
from latentwire.reporting.document import join_items
from latentwire.reporting.figures import draw_figures
from latentwire.reporting.paper import build_paper
from latentwire.reporting.report_data import read_report_data
from latentwire.reporting.tables import build_tables
from tests.support.synthetic_predictions import NAMES, aggregate, build


def narrow(root: Path, baselines: list[str], reference: str, controls: list[str]) -> None:
    """Leave the first task, these baselines and these controls of a repository with made-up predictions."""
    values: dict[str, Any] = yaml.safe_load((root / "params.yaml").read_text(encoding="utf-8"))
    values["prepare"]["tasks"] = values["prepare"]["tasks"][:1]
    values["baseline"]["methods"] = baselines
    values["aggregate"] |= {"reference": reference, "resamples": 100}
    values["evaluate"]["controls"] = controls
    (root / "params.yaml").write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
    gone = [f"wire-{name}" for name in ("shuffled", "noise") if name not in controls]
    for path in root.glob("results/evaluate/*/predictions.parquet"):
        rows = pd.read_parquet(path)
        rows[~rows["method"].isin(gone)].to_parquet(path)


@pytest.mark.long
@pytest.mark.parametrize(
    ("baselines", "reference", "controls"),
    [
        (["majority"], "majority", []),
        (["majority", "probe"], "majority", ["shuffled"]),
        (["majority", "probe"], "probe", []),
        (["majority", "truncated"], "truncated", ["noise"]),
    ],
)
def test_a_report_is_written(baselines: list[str], reference: str, controls: list[str], tmp_path: Path) -> None:
    build(tmp_path, seeds=(0,), count=40)
    narrow(tmp_path, baselines, reference, controls)
    aggregate(tmp_path)
    data = read_report_data(tmp_path / "results/aggregate", NAMES)
    tables = build_tables(data)
    document = build_paper(data, "Title", tables)
    assert {table.name for table in document.tables} >= {"rotten_tomatoes"}
    (tmp_path / "figures").mkdir()
    assert draw_figures(data, tmp_path / "figures")
    assert "| Wire" in headline_markdown(data)
    assert len(summary_markdown(data).splitlines()) == 2 + len(data.receivers)


def test_nothing_is_named_by_no_words() -> None:
    assert join_items(()) == ()
    assert join_items(("a", "b", "c")) == ("a", ", ", "b", " and ", "c")


def test_without_the_majority_class_nothing_begins(tmp_path: Path) -> None:
    """Else the stage `aggregate` would say so, after all trainings."""
    build(tmp_path, seeds=(0,), count=40)
    narrow(tmp_path, ["text"], "text", [])
    with pytest.raises(ConfigurationError, match=r"baseline.methods are text; expected majority among them"):
        load_params(tmp_path / "params.yaml")
