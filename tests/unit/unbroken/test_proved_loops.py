"""Loops that people have: each is proved to survive, and each is found out when a part of its state is forgotten."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType

import pytest

from tests.support.forks import start_as_program
from tests.support.loops import (
    accumulated_gradients,
    adversarial,
    averaged_lbfgs,
    compiled_embedding,
    open_stream,
    recurrent_average,
)
from unbroken.preemption import StopFlag
from unbroken.prove.certificate import Certificate
from unbroken.prove.drill import Interruption
from unbroken.prove.proof import ProofPlan, run_proof

pytestmark = pytest.mark.usefixtures("uninterrupted")
LOOPS = [recurrent_average, accumulated_gradients, adversarial, averaged_lbfgs, open_stream]
FORGOTTEN = [
    (recurrent_average, "carried", 3),
    (recurrent_average, "average", 4),
    (accumulated_gradients, "scaler", 3),
    (accumulated_gradients, "schedule", 3),
    (adversarial, "critic-optimizer", 3),
    (adversarial, "older", 3),
    (adversarial, "numbers", 3),
    (averaged_lbfgs, "optimizer", 3),
    (averaged_lbfgs, "average-rate", 3),
    (averaged_lbfgs, "average", 3),
    (open_stream, "stream", 3),
]


def certify(loop: ModuleType, work: Path, forget: str = "", controls: Sequence[str] | None = None) -> Certificate:
    def launch(_command: Sequence[str], variables: Mapping[str, str], log: Path) -> int:
        return start_as_program(variables, log, lambda: loop.main(StopFlag.install(), forget))

    plan = ProofPlan(command=[loop.__name__], work=work, launch=launch, controls=controls)
    return run_proof(plan, lambda _sentence: None)


@pytest.mark.long
@pytest.mark.parametrize("loop", LOOPS)
def test_a_loop_survives(loop: ModuleType, tmp_path: Path) -> None:
    certificate = certify(loop, tmp_path)
    assert certificate.exit_code == 0, certificate.to_table()


@pytest.mark.long
def test_a_compiled_loop_survives(tmp_path: Path) -> None:
    at = [Interruption("TERM", 4), Interruption("KILL", 7)]
    command = [sys.executable, compiled_embedding.__file__]  # dynamo remembers too much for a fork of the tests
    plan = ProofPlan(command=command, work=tmp_path, interruptions=at, controls=["average", "sparse"])
    certificate = run_proof(plan, lambda _sentence: None)
    assert certificate.exit_code == 0, certificate.to_table()


@pytest.mark.long
@pytest.mark.parametrize(("loop", "part", "code"), FORGOTTEN)
def test_a_forgotten_part_is_found(loop: ModuleType, part: str, code: int, tmp_path: Path) -> None:
    certificate = certify(loop, tmp_path, part, controls=["model"])
    assert certificate.exit_code == code, certificate.to_table()
