"""What `prove` drops on purpose, and after which step: each part is missed where it has something to lose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.support import inexact_trainings
from tests.support.forks import start_as_program
from unbroken.prove.certificate import Certificate
from unbroken.prove.controls import choose_control_steps
from unbroken.prove.drill import Interruption
from unbroken.prove.proof import ProofPlan, run_proof
from unbroken.run import Run

pytestmark = pytest.mark.usefixtures("uninterrupted")  # torch's lazy imports, once for all forks


class Late(inexact_trainings.Training):
    """One part begins to change near the end, and another in the last step alone."""

    def prepare(self) -> None:
        self.late: dict[str, Any] = {"average": torch.zeros(4, 3)}
        self.result: dict[str, Any] = {"loss": None}

    def state(self) -> dict[str, Any]:
        return {**super().state(), "late": self.late, "result": self.result}

    def train(self, step: int) -> dict[str, float]:
        metrics = super().train(step)
        if step > inexact_trainings.STEPS - 4:
            self.late["average"].lerp_(self.model[0].weight.detach(), 0.5)
        if step == inexact_trainings.STEPS:
            self.result["loss"] = metrics["loss"]
        return metrics


class RewindsItsGenerator(inexact_trainings.Training):
    """Draws from a generator of the state, and once more after each start."""

    def prepare(self) -> None:
        self.own = np.random.RandomState(1)

    def state(self) -> dict[str, Any]:
        return {**super().state(), "own": self.own}

    def begin(self, run: Run) -> None:
        self.own.random_sample()


inexact_trainings.PROGRAMS |= {"Late": Late, "RewindsItsGenerator": RewindsItsGenerator}


def certify(name: str, work: Path) -> Certificate:
    def forked(_command: Sequence[str], variables: Mapping[str, str], log: Path) -> int:
        return start_as_program(variables, log, lambda: inexact_trainings.main(name))

    plan = ProofPlan(command=[name], work=work, interruptions=[Interruption("TERM", 5)], launch=forked)
    return run_proof(plan, lambda _sentence: None)


def test_a_generator_of_the_state_is_not_named_as_lying_beside_it(tmp_path: Path) -> None:
    certificate = certify("RewindsItsGenerator", tmp_path)
    assert certificate.sentence.startswith("first at step 6: value own/")
    assert [each["path"] for each in certificate.fields["beside"]] == []


@pytest.mark.long
def test_what_changes_late_is_dropped_where_it_has_changed(tmp_path: Path) -> None:
    certificate = certify("Late", tmp_path)
    assert certificate.exit_code == 0, certificate.to_table()
    findings = {control["part"]: control["finding"] for control in certificate.fields["controls"]}
    assert findings.keys() == {"cursor", "late", "model", "optimizer", "rng", "schedule"}
    assert findings["late"].startswith("differs from step 11: tensor late/average")
    assert findings["model"].startswith("differs from step 7: ")


@pytest.mark.parametrize(
    ("total", "changed", "steps"),
    [
        (12, None, [6, 5]),
        (12, [5, 6, 7], [6, 5]),
        (12, [5, 9], [5, 9]),
        (12, [9, 10, 11], [10]),
        (2, [1], [1]),
        (1, None, [1]),
    ],
)
def test_the_steps_of_a_control(total: int, changed: list[int] | None, steps: list[int]) -> None:
    assert choose_control_steps(total, changed) == steps
