"""The files of `results/aggregate/`: sorted keys, ten significant digits, same numbers → same bytes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from latentwire.output_files import replace_file, write_text_file
from latentwire.statistics.comparisons import StatsRecord
from latentwire.statistics.metrics import ACCURACY

FLOATS = "%.10g"


def write_statistics(folder: Path, summary: StatsRecord, learning: pd.DataFrame) -> None:
    """Write `stats.json`, `metrics.json`, `accuracy.csv` and `curves.csv` into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "stats.json", summary)
    write_json(folder / "metrics.json", nest_metrics(summary))
    for name, table in {"accuracy.csv": accuracy_table(summary), "curves.csv": learning}.items():
        with replace_file(folder / name) as partial:
            table.to_csv(partial, index=False, float_format=FLOATS, lineterminator="\n")


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write JSON with sorted keys; a number that is not finite is an error, not `NaN`."""
    text = json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
    write_text_file(path, text + "\n")


def nest_metrics(summary: StatsRecord) -> dict[str, dict[str, dict[str, dict[str, float]]]]:
    """Cells as task → model → method → metric, small enough for `dvc metrics show`."""
    nested: dict[str, dict[str, dict[str, dict[str, float]]]] = {}
    for cell in summary["cells"].values():
        methods = nested.setdefault(cell["task"], {}).setdefault(cell["model"], {})
        methods.setdefault(cell["method"], {})[cell["metric"]] = cell["value"]
    return nested


def accuracy_table(summary: StatsRecord) -> pd.DataFrame:
    """One row per cell with its accuracy and interval, for `dvc plots show`."""
    columns = ["task", "model", "method", "value", "low", "high"]
    cells = [cell for _, cell in sorted(summary["cells"].items()) if cell["metric"] == ACCURACY]
    rows = [["/".join(cell[n] for n in columns[:3]), *(cell[n] for n in columns)] for cell in cells]
    return pd.DataFrame(rows, columns=["cell", "task", "model", "method", "accuracy", "low", "high"])


def signed_entries(stats: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Id → entry: all that carry the signature of how they were computed."""
    sections = [section for section in stats.values() if isinstance(section, Mapping)]
    blocks = {f"{b['task']}/{b['receiver']}/ranks": {"task": b["task"], **b["ranks"]} for b in stats.get("blocks", ())}
    return {
        key: dict(entry)
        for section in (*sections, blocks)
        for key, entry in section.items()
        if isinstance(entry, Mapping) and "signature" in entry
    }
