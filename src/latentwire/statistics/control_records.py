"""Records of the controls: whether one is right more often than its own answers in another order."""

from __future__ import annotations

from scipy import stats

from latentwire.statistics.claims import NO_VARIANCE, POWER
from latentwire.statistics.comparisons import Settings, StatsRecord
from latentwire.statistics.evidence import Evidence, Key
from latentwire.statistics.families import METRIC, Reading
from latentwire.statistics.grid import Grid
from latentwire.statistics.permutations import permute_answers
from latentwire.statistics.signature import format_signature

CONTROL_FAMILY = "controls"
LEAK, NO_LEAK = "leak", "no leak shown"


def control_records(evidence: Evidence, grid: Grid, settings: Settings) -> dict[str, StatsRecord]:
    """Every control on every task and receiver, as one family."""
    controls = [method for method in grid.methods.values() if method.control_of]
    keys = [(task, model, method.name) for task in grid.tasks for method in controls for model in method.models]
    return {f"{'/'.join(key)}-vs-permuted/{METRIC}": _record(evidence, grid, key, settings) for key in keys}


def _judge(_: StatsRecord, adjusted: float | None, alpha: float) -> str:
    """`leak`, or `no leak shown`, which is no proof that there is none."""
    return LEAK if adjusted is not None and adjusted < alpha else NO_LEAK


def _detectable(record: StatsRecord, level: float) -> float | None:
    """Excess that one test finds with 80 % power, by the normal approximation; None where the answers do not vary."""
    if not record["error"]:
        return None
    return float(stats.norm.ppf(1 - level) + stats.norm.ppf(POWER)) * float(record["error"])


CONTROL = Reading(_judge, _detectable)


def _record(evidence: Evidence, grid: Grid, key: Key, settings: Settings) -> StatsRecord:
    task, model, name = key
    answers, labels = evidence.answers[key], grid.tasks[task]
    golds = [labels.index(label) for label in evidence.golds[task].labels]
    found = permute_answers(answers.values, golds, settings.resamples, settings.seed)
    return {
        "task": task,
        "receiver": model,
        "method": name,
        "value": found.share - found.expected,
        "accuracy": found.share,
        "expected": found.expected,
        "error": found.error,
        "p": found.p,
        "reason": None if found.error else NO_VARIANCE,
        "S": len(answers.values),
        "N": len(golds),
        "sources": [path for path, source in evidence.sources.items() if source.item.feeds(task, name)],
        "signature": format_signature(
            p="permutation", S=len(answers.values), N=len(golds), R=settings.resamples, seed=settings.seed,
            ids=answers.ids[:8],
        ),
    }  # fmt: skip
