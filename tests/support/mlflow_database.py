"""What the tests of tracking share: an item, its records, and a look into MLflow's database without MLflow."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from latentwire.tracking.runs import TrackedItem

ITEM = TrackedItem(
    "wire-r8-0",
    "a" * 64,
    params={"train": {"lr": 0.001, "seeds": [0, 1]}},
    tags={"method": "wire", "task": "r8", "seed": "0"},
)


class Database:
    """What a SQLite file of MLflow holds, without MLflow."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.path = root / "mlflow.db"

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(self.path)) as connection:
            return connection.execute(query).fetchall()

    def runs(self) -> list[tuple[str, str]]:
        """(name, status) of each run, oldest first."""
        return self.rows("select name, status from runs where lifecycle_stage = 'active' order by start_time")

    def points(self, system: bool = False) -> list[tuple[str, int, float]]:
        """(metric, step, value), every row of every run."""
        where = "where key like 'system/%'" if system else "where key not like 'system/%'"
        return self.rows(f"select key, step, value from metrics {where} order by step, key")

    def params(self) -> dict[str, str]:
        return dict(self.rows("select key, value from params"))

    def tags(self) -> dict[str, str]:
        return dict(self.rows("select key, value from tags"))


def records(first: int, last: int) -> list[dict[str, Any]]:
    """Records of a journal: a loss at each step, an accuracy at each tenth."""
    return [
        {
            "step": step,
            "train/loss": 1 / step,
            **({"validation/accuracy/a": step / 100} if step % 10 == 0 else {}),
        }
        for step in range(first, last + 1)
    ]


def points_of(entries: list[dict[str, Any]]) -> list[tuple[str, int, float]]:
    """What MLflow must hold of these records, in the order of `Database.points`."""
    return [(key, entry["step"], entry[key]) for entry in entries for key in sorted(entry) if key != "step"]
