"""Records of the controls: whether one is right more often than its own answers in another order."""

from __future__ import annotations

from functools import partial

from latentwire.statistics.comparisons import Settings, StatsRecord
from latentwire.statistics.evidence import Evidence, Key
from latentwire.statistics.excess import detectable_excess, excess_record, judge_excess
from latentwire.statistics.families import Reading
from latentwire.statistics.grid import Grid
from latentwire.statistics.measures import gold_numbers
from latentwire.statistics.metrics import ACCURACY

CONTROL_FAMILY = "controls"
LEAK, NO_LEAK = "leak", "no leak shown"
CONTROL = Reading(partial(judge_excess, LEAK, NO_LEAK), detectable_excess)


def control_records(evidence: Evidence, grid: Grid, settings: Settings) -> dict[str, StatsRecord]:
    """Every control on every task and receiver, as one family."""
    controls = [method for method in grid.methods.values() if method.control_of]
    keys = [(task, model, method.name) for task in grid.tasks for method in controls for model in method.models]
    return {f"{'/'.join(key)}-vs-permuted/{ACCURACY}": _record(evidence, grid, key, settings) for key in keys}


def _record(evidence: Evidence, grid: Grid, key: Key, settings: Settings) -> StatsRecord:
    task, model, name = key
    golds, answers = gold_numbers(evidence, grid, task), evidence.answers[key]
    return {
        "task": task,
        "receiver": model,
        "method": name,
        "accuracy": float((answers.values == golds).mean()),
        **excess_record(answers, golds, len(grid.tasks[task]), settings),
        "sources": evidence.sources_of(task, name),
    }
