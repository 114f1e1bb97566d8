"""Frozen predictions → `stats.json`, compared with the one that was looked at: no number moves unnoticed.

To renew it after a change that is meant: `python -m tests.unit.statistics.test_golden`, then read the difference.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from latentwire.statistics.write import write_json
from tests.support.synthetic_predictions import aggregate, build

GOLDEN = Path(__file__).parent / "golden"
TASK = "rotten_tomatoes"


def _repository(root: Path) -> Path:
    """A repository of one task whose predictions are those of the frozen table."""
    values = build(root, count=24)
    values["prepare"]["tasks"] = [TASK]
    (root / "params.yaml").write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
    frozen = pd.read_csv(GOLDEN / "predictions.csv", dtype={"seed": "Int64", "prediction": str})
    frozen["scores"] = [[float(score) for score in scores.split()] for scores in frozen["scores"]]
    for folder, rows in frozen.groupby("folder"):
        rows.drop(columns="folder").to_parquet(root / str(folder) / "predictions.parquet", index=False)
    return root


def _freeze(root: Path) -> None:
    """Write the table of predictions that `_repository` reads, scores with four digits."""
    paths = [path for path in sorted(root.glob("results/*/**/predictions.parquet")) if TASK in path.as_posix()]
    frames = []
    for path in paths:
        frame = pd.read_parquet(path)
        frame["scores"] = [" ".join(f"{score:.4f}" for score in scores) for scores in frame["scores"]]
        frames.append(frame.assign(folder=path.parent.relative_to(root).as_posix()))
    pd.concat(frames).to_csv(GOLDEN / "predictions.csv", index=False, lineterminator="\n")


def _numbers(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            # The digest of a parquet file depends on the version of its library, and the parameters may change.
            if key not in ("sha256", "parameters", "setup"):
                yield from _numbers(inner, f"{path}/{key}")
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _numbers(inner, f"{path}/{number}")
    else:
        yield path, value


def test_every_number_is_the_golden_one(tmp_path: Path) -> None:
    found = dict(_numbers(aggregate(_repository(tmp_path))))
    golden = dict(_numbers(json.loads((GOLDEN / "stats.json").read_text(encoding="utf-8"))))
    assert found.keys() == golden.keys()
    moved = [
        path
        for path, value in golden.items()
        if (
            found[path] != pytest.approx(value, rel=1e-9, abs=1e-9)
            if isinstance(value, float)
            else found[path] != value
        )
    ]
    assert moved[:10] == []


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        if "--predictions" in sys.argv:
            build(Path(scratch) / "made", count=24)
            _freeze(Path(scratch) / "made")
        write_json(GOLDEN / "stats.json", aggregate(_repository(Path(scratch) / "frozen")))
