"""Loops that people have: each is proved to survive, and each is found out when a part of its state is forgotten."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType

import pytest

from tests.support.forks import in_child
from tests.support.loops import accumulated_gradients, adversarial, open_stream, recurrent_average
from unbroken.preemption import StopFlag
from unbroken.prove.certificate import Certificate
from unbroken.prove.proof import ProofPlan, run_proof

pytestmark = pytest.mark.usefixtures("uninterrupted")
LOOPS = [recurrent_average, accumulated_gradients, adversarial, open_stream]
FORGOTTEN = [
    (recurrent_average, "carried", 3),
    (recurrent_average, "average", 4),
    (accumulated_gradients, "scaler", 3),
    (accumulated_gradients, "schedule", 3),
    (adversarial, "critic-optimizer", 3),
    (adversarial, "older", 3),
    (adversarial, "numbers", 3),
    (open_stream, "stream", 3),
]


def certify(loop: ModuleType, work: Path, forget: str = "", controls: Sequence[str] | None = None) -> Certificate:
    def launch(_command: Sequence[str], variables: Mapping[str, str], log: Path) -> int:
        def action() -> None:
            os.environ.clear()
            os.environ.update(variables)
            descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(descriptor, 2)
            loop.main(StopFlag.install(), forget)

        return in_child(action)

    plan = ProofPlan(command=[loop.__name__], work=work, launch=launch, controls=controls)
    return run_proof(plan, lambda _sentence: None)


@pytest.mark.parametrize("loop", LOOPS)
def test_a_loop_survives(loop: ModuleType, tmp_path: Path) -> None:
    certificate = certify(loop, tmp_path)
    assert certificate.exit_code == 0, certificate.to_table()


@pytest.mark.parametrize(("loop", "part", "code"), FORGOTTEN)
def test_a_forgotten_part_is_found(loop: ModuleType, part: str, code: int, tmp_path: Path) -> None:
    certificate = certify(loop, tmp_path, part, controls=["model"])
    assert certificate.exit_code == code, certificate.to_table()
