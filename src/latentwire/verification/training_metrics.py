"""Numbers that a training leaves beside its weights, over the seeds of one method and task."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from latentwire.verification.judgement import Both, ids_fed_by
from latentwire.verification.published import Published
from latentwire.verification.run_noise import measure_seeds


def metrics_path(item: str) -> str:
    """The file of an item's last training numbers."""
    return f"results/train/{item}.json"


def pair_metrics(stats: Mapping[str, Any], published: Published, root: Path) -> dict[str, Both]:
    """Number of a training → its mean over seeds, as published and here, where all seeds of both are known."""
    pairs: dict[str, Both] = {}
    for (task, method), items in _items(stats).items():
        before = [published.content(metrics_path(item)) for item in items]
        here = [(root / metrics_path(item)).read_bytes() for item in items]
        if None not in before and before != here:
            was, now = ([dict(json.loads(data or b"{}")) for data in side] for side in (before, here))
            pairs |= {metric_id(task, method, name): both for name, both in _pairs(was, now)}
    return pairs


def metric_id(task: str, method: str, name: str) -> str:
    """Id of a number of the trainings of a method on a task."""
    return f"{task}/{method}/training/{name}"


def metric_ids(stats: Mapping[str, Any], item: str, names: list[str]) -> list[str]:
    """Ids of all numbers that an item's training and its answers have a part in."""
    made = ids_fed_by(stats, (f"results/evaluate/{item}",))
    runs = [stats["runs"][key] for key in made if key in stats["runs"]]
    return made + [metric_id(run["task"], run["method"], name) for run in runs for name in names]


def _items(stats: Mapping[str, Any]) -> dict[tuple[str, str], list[str]]:
    """(task, method) → its items."""
    items: dict[tuple[str, str], list[str]] = {}
    for run in stats["runs"].values():
        items.setdefault((run["task"], run["method"]), []).append(Path(run["sources"][0]).parent.name)
    return items


def _pairs(was: list[dict[str, Any]], now: list[dict[str, Any]]) -> Iterator[tuple[str, Both]]:
    """Numbers that every seed of both runs has; a name that one lacks is a contradiction of its own."""
    for name in sorted(set.intersection(*map(set, [*was, *now]))):
        yield name, (measure_seeds([one[name] for one in was]), measure_seeds([one[name] for one in now]))
