"""Records of unseen words: how often a wire is right when it is asked for words that no training named.

A wire that carries the labels' own words alone would answer other words by chance, which is what its answers give in
another order (`excess.py`).
"""

from __future__ import annotations

from functools import partial

from latentwire.statistics.comparisons import Settings, StatsRecord, cell_record
from latentwire.statistics.evidence import Evidence, Key
from latentwire.statistics.excess import detectable_excess, excess_record, judge_excess
from latentwire.statistics.families import Reading, cell_id
from latentwire.statistics.grid import Grid
from latentwire.statistics.measures import gold_numbers
from latentwire.statistics.metrics import ACCURACY

UNSEEN_FAMILY = "unseen"
CARRIED, NOT_SHOWN = "above chance", "not shown"
UNSEEN = Reading(
    partial(judge_excess, CARRIED, NOT_SHOWN), lambda record, level: detectable_excess(record["excess"], level)
)


def unseen_records(evidence: Evidence, grid: Grid, settings: Settings) -> dict[str, StatsRecord]:
    """Accuracy with every set of words on every task and receiver, against the same answers in another order."""
    keys = [
        (task, model, name)
        for task, sets in grid.unseen.items()
        for name, words in sets.items()
        for model in words.method.models
    ]
    return {cell_id(*key, ACCURACY): _record(evidence, grid, key, settings) for key in keys}


def _record(evidence: Evidence, grid: Grid, key: Key, settings: Settings) -> StatsRecord:
    task, model, name = key
    found = evidence.unseen[key]
    excess = excess_record(found.answers, gold_numbers(evidence, grid, task), len(grid.tasks[task]), settings)
    return {
        "task": task,
        "model": model,
        "method": grid.unseen[task][name].asked,
        "words": dict(grid.unseen[task][name].words),
        **cell_record(found.right, True, settings),
        **{key: excess.pop(key) for key in ("expected", "p", "reason")},
        "excess": excess,
        "sources": evidence.sources_of(task, name),
    }
