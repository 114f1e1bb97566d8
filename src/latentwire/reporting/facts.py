"""What the report reads: statistics, learning curves, and the names under which things are printed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from latentwire.errors import EvidenceError

SCHEMA = "latentwire-stats/2"
Record = dict[str, Any]


@dataclass(frozen=True)
class Revision:
    """The code that the report was made with, as its caller knows it."""

    commit: str
    dirty: bool
    """Files differ from that commit."""


DEFAULT_NAMES = {
    "text": "Text (zero-shot)",
    "calibrated": "Text (calibrated)",
    "truncated": "Text (truncated)",
    "probe": "Linear probe",
    "majority": "Majority class",
    "none": "no model",
}


@dataclass(frozen=True)
class Facts:
    """`stats.json` and `curves.csv` with access by id; nothing is computed from predictions here."""

    stats: Record
    curves: pd.DataFrame
    names: Mapping[str, str]

    def name(self, key: str) -> str:
        """Printed name of a method, model or task; its key where none was given."""
        method = self.stats["methods"].get(key)
        if method is not None and method["control_of"] is not None and key not in self.names:
            return f"{self.name(method['control_of'])} ({key.removeprefix(method['control_of'] + '-')})"
        return self.names.get(key) or DEFAULT_NAMES.get(key, key)

    def cell(self, key: str) -> Record:
        """Accuracy by id."""
        return dict(self.stats["cells"][key])

    def average(self, key: str) -> Record:
        """Mean accuracy over the tasks by id."""
        return dict(self.stats["averages"][key])

    def comparison(self, key: str) -> Record:
        """Difference by id."""
        return dict(self.stats["comparisons"][key])

    def setting(self, key: str) -> Any:
        """One of the settings under which the statistics were computed."""
        return self.stats["settings"][key]

    @property
    def tasks(self) -> list[str]:
        return list(self.stats["order"]["tasks"])

    @property
    def receivers(self) -> list[str]:
        return list(self.stats["order"]["receivers"])

    def trained(self) -> list[str]:
        """Trained methods in the order of the tables, without controls."""
        methods = self.stats["methods"]
        return [
            key for key in self.stats["order"]["methods"] if methods[key]["trained"] and not methods[key]["control_of"]
        ]

    def baselines(self) -> list[str]:
        """Methods without seeds in the order of the tables."""
        return [key for key in self.stats["order"]["methods"] if not self.stats["methods"][key]["trained"]]

    def controls(self) -> list[str]:
        """Controls of trained methods."""
        return [key for key in self.stats["order"]["methods"] if self.stats["methods"][key]["control_of"]]

    def block(self, task: str, receiver: str) -> Record:
        """The rows of one task and receiver."""
        return dict(next(b for b in self.stats["blocks"] if (b["task"], b["receiver"]) == (task, receiver)))

    def family(self, name: str) -> list[Record]:
        """Differences of a family in their order, each with `id`, adjusted p, verdict and signature."""
        members = self.stats["families"][name]["members"]
        return [{**self.comparison(key), **self.adjusted(key, name), "id": key} for key in members]

    def adjusted(self, key: str, family: str) -> Record:
        """Adjusted p (`p_adjusted`), `verdict` and `signature` of a difference within a family."""
        found = self.stats["comparisons"][key]["adjusted"][family]
        return {"p_adjusted": found["p"], "verdict": found["verdict"], "signature": found["signature"]}


def read(folder: Path, names: Mapping[str, str]) -> Facts:
    """Read `stats.json` and `curves.csv` of `results/aggregate/`.

    Raises:
        EvidenceError: A file is missing or was written by another version.
    """
    for name in ("stats.json", "curves.csv"):
        if not (folder / name).is_file():
            raise EvidenceError(f"{folder / name} is missing, expected the statistics. Next: `dvc repro aggregate`.")
    stats = json.loads((folder / "stats.json").read_text(encoding="utf-8"))
    if stats.get("schema") != SCHEMA:
        raise EvidenceError(
            f"{folder / 'stats.json'} has the schema {stats.get('schema')!r}, expected {SCHEMA!r}. "
            "Next: `dvc repro aggregate`."
        )
    return Facts(stats, pd.read_csv(folder / "curves.csv"), dict(names))
