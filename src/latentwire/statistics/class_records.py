"""Records by class: which label was said for which, and the recall of every class."""

from __future__ import annotations

import numpy as np

from latentwire.statistics.comparisons import StatsRecord
from latentwire.statistics.evidence import Evidence, Key
from latentwire.statistics.families import cell_id
from latentwire.statistics.grid import Grid
from latentwire.statistics.measures import gold_numbers
from latentwire.statistics.signature import format_signature

CLASSES = "classes"
"""Stands in ids where a metric would."""


def class_records(evidence: Evidence, grid: Grid) -> dict[str, StatsRecord]:
    """For every cell the answers by class, over all seeds; counts of 0 are left out."""
    return {cell_id(*key, CLASSES): _record(evidence, grid, key) for key in evidence.answers}


def _record(evidence: Evidence, grid: Grid, key: Key) -> StatsRecord:
    task, model, name = key
    labels, answers, golds = grid.tasks[task], evidence.answers[key], gold_numbers(evidence, grid, task)
    said = {
        label: np.bincount(answers.values[:, golds == number].astype(int).ravel(), minlength=len(labels))
        for number, label in enumerate(labels)
    }
    return {
        "task": task,
        "model": model,
        "method": name,
        "said": {label: _counted(labels, counts) for label, counts in said.items()},
        "recall": {
            label: float(counts[number] / counts.sum()) if counts.sum() else None
            for number, (label, counts) in enumerate(said.items())
        },
        "never_right": [label for label in said if said[label].any() and not said[label][labels.index(label)]],
        "S": len(answers.values),
        "N": len(golds),
        "sources": evidence.sources_of(task, name),
        "signature": format_signature(count="answers", S=len(answers.values), N=len(golds), ids=answers.ids[:8]),
    }


def _counted(labels: tuple[str, ...], counts: np.ndarray) -> dict[str, int]:
    return {label: int(count) for label, count in zip(labels, counts, strict=True) if count}
