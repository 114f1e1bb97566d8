"""Experiments against the default: by task and receiver, over the seeds that both have, on the same validation texts.

Shapes: S seeds, N validation texts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import numpy as np

from latentwire.errors import ConfigurationError
from latentwire.params.load import Params
from latentwire.statistics.metrics import ACCURACY
from tools.experiments.plan import DEFAULT, Plan
from tools.experiments.stored import PROBE, RESULTS, Answers, Stored, read_reference, read_result

Z_95 = 1.96
"""Standard errors on either side of an interval of 95 %."""
Cell = tuple[str, str]
"""Task and receiver."""


@dataclass(frozen=True)
class Difference:
    """How far a score is above another one on the same texts, and half of the 95 % interval where it is accuracy."""

    score: float
    accuracy: float
    half_width: float


@dataclass(frozen=True)
class Results:
    """Everything that is stored, and the rule by which it is judged."""

    plan: Plan
    metrics: Mapping[str, str]
    """Task → the score by which it is judged."""
    stored: Mapping[tuple[str, str, int], Stored]
    """Experiment, task and seed → result."""
    references: Mapping[str, Stored]
    """Task → what is known of it without a wire."""

    @classmethod
    def read(cls, root: Path, plan: Plan, values: Params) -> Results:
        """What the repository at `root` has stored of the plan as it stands."""
        found = {(t.experiment, t.task, t.seed): read_result(root, t) for t in plan.trials()}
        known = {task: read_reference(root, task, plan.base) for task in plan.tasks}
        return cls(
            plan,
            {task: values.aggregate.metrics.get(task, ACCURACY) for task in plan.tasks},
            {key: result for key, result in found.items() if result is not None},
            {task: result for task, result in known.items() if result is not None},
        )

    def of(self, experiment: str, task: str) -> dict[int, Stored]:
        """Seed → result."""
        return {seed: s for (name, its, seed), s in self.stored.items() if (name, its) == (experiment, task)}

    def cells(self, experiment: str) -> list[Cell]:
        """Where it has answers."""
        pairs = ((task, s.receivers) for task in self.plan.tasks for s in self.of(experiment, task).values())
        return list(dict.fromkeys((task, receiver) for task, receivers in pairs for receiver in receivers))

    def score(self, experiment: str, task: str, who: str, metric: str) -> float | None:
        """Mean over seeds of a score; None where there is no answer."""
        found = [s.answers(who) for s in self.of(experiment, task).values() if who in s.facts["answers"]]
        return fmean(answers.score(metric) for answers in found) if found else None

    def difference(self, experiment: str, task: str, who: str, other: str = DEFAULT) -> Difference | None:
        """How far an experiment is above another; None where no seed has answers of both by the same code."""
        ours, theirs = self.of(experiment, task), self.of(other, task)
        shared = [
            (ours[seed].answers(who), theirs[seed].answers(who))
            for seed in sorted(ours.keys() & theirs.keys())
            if ours[seed].facts["code"] == theirs[seed].facts["code"]
            and who in ours[seed].facts["answers"].keys() & theirs[seed].facts["answers"].keys()
        ]
        return subtract(shared, self.metrics[task]) if shared else None

    def gap(self, experiment: str, task: str, receiver: str) -> Difference | None:
        """How far a receiver is above the probe on the same wire; below 0, it loses what the wire holds."""
        found = [
            (s.answers(receiver), s.answers(PROBE))
            for s in self.of(experiment, task).values()
            if receiver in s.receivers
        ]
        return subtract(found, self.metrics[task]) if found else None

    def above_text(self, experiment: str, task: str, receiver: str) -> Difference | None:
        """How far a receiver is above a logistic layer on its own label scores for the text."""
        name = f"readout/{receiver}"
        known = self.references.get(task)
        found = [s.answers(receiver) for s in self.of(experiment, task).values() if receiver in s.receivers]
        if known is None or not found or name not in known.facts["answers"]:
            return None
        return subtract([(answers, known.answers(name)) for answers in found], self.metrics[task])

    def ranked(self) -> list[tuple[str, float]]:
        """Experiments that are nowhere below the default, with what they gain on average, the largest gain first."""
        gains = ((name, self.gain(name)) for name in self.plan.experiments if name != DEFAULT)
        return sorted(((name, gain) for name, gain in gains if gain is not None), key=lambda pair: -pair[1])

    def gain(self, experiment: str) -> float | None:
        """Mean over tasks and receivers of what it is above the default; None where one is below, or unknown."""
        found = [self.difference(experiment, task, receiver) for task, receiver in self.cells(DEFAULT)]
        if not found or any(d is None or min(d.score, d.accuracy) < 0 for d in found):
            return None
        gain = fmean(d.score for d in found if d is not None)
        return gain if gain > 0 else None

    def mean(self, experiment: str, task: str, of: Callable[[Difference], float]) -> float:
        """Mean over receivers of a difference from the default; −∞ where there is none."""
        cells = [receiver for its, receiver in self.cells(experiment) if its == task]
        found = [d for receiver in cells if (d := self.difference(experiment, task, receiver)) is not None]
        return fmean(map(of, found)) if found else -math.inf


def subtract(pairs: Sequence[tuple[Answers, Answers]], metric: str) -> Difference:
    """The difference of answers of S seeds from others.

    The interval is of the texts: with one seed it says nothing of what another training would do.

    Raises:
        ConfigurationError: They are not of the same texts.
    """
    golds = {tuple(answers.golds) for pair in pairs for answers in pair}
    if len(golds) > 1:
        raise ConfigurationError(
            f"Results in {RESULTS} are of {len(golds)} different sets of validation texts, expected the same ones. "
            "Next: remove the older ones, then `make experiments`."
        )
    by_text = np.mean([ours.hits - theirs.hits for ours, theirs in pairs], axis=0)
    return Difference(
        fmean(ours.score(metric) - theirs.score(metric) for ours, theirs in pairs),
        float(by_text.mean()),
        Z_95 * float(by_text.std(ddof=1)) / math.sqrt(len(by_text)),
    )
