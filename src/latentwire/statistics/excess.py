"""Are answers right more often than their own frequencies give? The excess over the same answers in another order.

Answers of which a share q_k is class k, where a share p_k of the examples is, are right in Σ_k p_k · q_k of the cases
in any other order: that is the chance level of a control, and not the majority class. What is right beyond it is
Σ_k cov(class k is said, class k is right).

Trainings and examples are both random and crossed, as in `twoway.py`. A permutation of the answers over the examples
takes the examples alone for the sample: it finds that one training agrees with whole kinds of texts, which it may by
luck, and calls that knowledge of the labels. Whether trainings agree with them is a question to several trainings.

Simulated with 500 examples at a level of 5 %. Trainings that lean to a class for every kind of text, each in its own
way, so that their excess is 0 on average: a permutation over the examples finds one in 18 to 31 of 100 experiments with
3 or 5 trainings, this test in 5 (with two trainings in 7, without leaning in 2 to 3). A leak of a tenth of the answers
is found in

| trainings | 2 | 3 | 5 | 8 | 12 |
|---|---|---|---|---|---|
| two classes, no leaning | 59 % | 84 % | 98 % | 100 % | 100 % |
| two classes, strong leaning | 25 % | 36 % | 54 % | 72 % | 80 % |
| eight classes, no leaning | 83 % | 99 % | 100 % | 100 % | 100 % |
| eight classes, strong leaning | 42 % | 64 % | 87 % | 97 % | 99 % |

Controls that read nothing of the text do not lean. Of eight with 3 trainings, corrected together by Holm, a leak of a
tenth into the shuffled wire is found with 48 to 80 %, one of 15 % with 89 % or more (`test_controls.py`).
`tests/unit/statistics/test_excess_simulations.py`. Shapes: S trainings, N examples, K classes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from latentwire.statistics.claims import NO_VARIANCE, ONE_TRAINING, minimum_detectable
from latentwire.statistics.comparisons import Settings, StatsRecord, design_record
from latentwire.statistics.metrics import indicate_classes
from latentwire.statistics.scores import Matrix, Scores
from latentwire.statistics.signature import format_signature
from latentwire.statistics.twoway import Estimate, estimate_mean


def excess_parts(said: Matrix, wanted: Matrix) -> Matrix:
    """What every training and example adds to the excess [S, N]; the mean of a row is that of its training.

    right − q(gold) − p(answer) + Σ_k p_k · q_k. The first two terms have the same mean; the others, which add nothing
    to it, take out of the variance what is there only because p and q are frequencies of these same examples.

    Args:
        said: Indicators of the answers [S, N, K].
        wanted: Those of the right classes [N, K].
    """
    centred = said - said.mean(axis=1, keepdims=True)
    return np.asarray((centred * (wanted - wanted.mean(axis=0))).sum(axis=-1))


def excess_record(answers: Scores, golds: Matrix, classes: int, settings: Settings) -> StatsRecord:
    """The excess with its interval, design, and `p` above 0, and the share that is `expected` of the same answers.

    Args:
        answers: Number of the class that every training answers [S, N].
        golds: Number of the right class [N].
        classes: How many there are.
        settings: Of the analysis.
    """
    said, wanted = indicate_classes(answers.values, classes), indicate_classes(golds, classes)
    excess = estimate_mean(excess_parts(said, wanted))
    several = excess.seeds > 1
    low, high = (excess.interval(settings.confidence) if several else None) or (None, None)
    return {
        "value": excess.mean,
        "low": low,
        "high": high,
        "expected": float((said.mean(axis=1) @ wanted.mean(axis=0)).mean()),
        **_test(excess),
        **design_record(excess),
        "signature": format_signature(
            ci="twoway" if several else None, conf=settings.confidence if several else None,
            p="t-above" if several else None, S=excess.seeds, N=excess.examples, ids=answers.ids[:8],
        ),
    }  # fmt: skip


def _test(excess: Estimate) -> StatsRecord:
    """One-sided p, and the `reason` why there is none, or none below 1: a family counts answers that do not vary."""
    if excess.seeds == 1:
        return {"p": None, "reason": ONE_TRAINING}
    return {"p": 1.0, "reason": NO_VARIANCE} if excess.constant else {"p": excess.p_above(), "reason": None}


def judge_excess(shown: str, not_shown: str, record: StatsRecord, adjusted: float | None, alpha: float) -> str:
    """`shown` where the adjusted p is below the level, else `not_shown`; a single training has no verdict."""
    if record["reason"] == ONE_TRAINING:
        return ONE_TRAINING
    return shown if adjusted is not None and adjusted < alpha else not_shown


def detectable_excess(excess: Mapping[str, Any], level: float) -> float | None:
    """Excess that one test at this level finds with 80 % power; None of one training, and where nothing varies."""
    if excess["S"] == 1 or excess["df"] is None:
        return None
    return minimum_detectable(math.sqrt(excess["variance"]), excess["df"], 2 * level)
