"""What is stored of experiments in `experiments/results/`, and the figures that follow from their answers.

Shapes: N validation texts, K labels.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from latentwire.output_files import write_text_file
from latentwire.statistics.metrics import ACCURACY, RESAMPLED, indicate_classes
from latentwire.statistics.scores import Matrix
from tools.experiments.plan import Overrides, Plan, Trial

RESULTS = Path("experiments/results")
REFERENCES = "without-wire"
PROBE = "probe"
"""Who answers from the numbers of the wire themselves, or from the sender's features where there is no wire."""
SCALED = "scaled"
"""Before the name of a receiver: a logistic layer on its own label scores after the wire."""
Facts = dict[str, Any]
"""What is stored of a trial, by name."""


@dataclass(frozen=True)
class Answers:
    """What somebody says of the validation texts: labels by number [N], as they should be and as they are."""

    golds: Sequence[int]
    said: Sequence[int]
    classes: int

    @property
    def hits(self) -> Matrix:
        """1 where an answer is right, 0 where it is wrong: [N]."""
        return (np.asarray(self.golds) == np.asarray(self.said)).astype(float)

    def score(self, metric: str) -> float:
        """Accuracy or another metric of params.yaml, as the report has it."""
        return float(self.hits.mean()) if metric == ACCURACY else float(RESAMPLED[metric][0](*self._counts))

    @property
    def _counts(self) -> tuple[Matrix, Matrix, Matrix]:
        wanted, said = (indicate_classes(np.asarray(rows), self.classes) for rows in (self.golds, self.said))
        return (wanted * said).sum(axis=0), wanted.sum(axis=0), said.sum(axis=0)


@dataclass(frozen=True)
class Stored:
    """A result: of an experiment, or of what has no wire."""

    facts: Facts

    def answers(self, who: str) -> Answers:
        """Those of a receiver, of the probe on the wire, or of what has no wire."""
        return Answers(self.facts["golds"], self.facts["answers"][who], len(self.facts["labels"]))

    @property
    def receivers(self) -> list[str]:
        """Who read the wire."""
        return [who for who in self.facts["answers"] if who != PROBE and "/" not in who]


def read_result(root: Path, trial: Trial) -> Stored | None:
    """The result of a trial as the plan has it now; None where there is none, or it is of other values."""
    facts = _read(root, trial.name)
    return Stored(facts) if facts is not None and facts["overrides"] == trial.overrides else None


def read_reference(root: Path, task: str, base: Overrides) -> Stored | None:
    """What is known of a task without a wire."""
    facts = _read(root, f"{REFERENCES}-{task}")
    return Stored(facts) if facts is not None and facts["overrides"] == base else None


def write_result(root: Path, trial: Trial, facts: Facts) -> None:
    """Store the facts of a trial, all at once."""
    named = {"experiment": trial.experiment, "task": trial.task, "seed": trial.seed, "overrides": trial.overrides}
    _write(root, trial.name, {**facts, **named})


def write_reference(root: Path, task: str, base: Overrides, facts: Facts) -> None:
    """Store what is known of a task without a wire."""
    _write(root, f"{REFERENCES}-{task}", {**facts, "task": task, "overrides": base})


def missing_trials(root: Path, plan: Plan) -> Iterator[Trial]:
    """Those without a stored result, looked up one by one as they are asked for."""
    return (trial for trial in plan.trials() if read_result(root, trial) is None)


def _read(root: Path, name: str) -> Facts | None:
    path = root / RESULTS / f"{name}.json"
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else None


def _write(root: Path, name: str, facts: Facts) -> None:
    path = root / RESULTS / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = ",\n".join(f" {json.dumps(key)}: {json.dumps(facts[key], sort_keys=True)}" for key in sorted(facts))
    write_text_file(path, f"{{\n{lines}\n}}\n")
