"""Whole programs as users have them, under `prove`: what is sound is certified, what is forgotten is found."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from tests.support.forks import start_as_program
from tests.support.loops import digits
from unbroken.prove.certificate import Certificate
from unbroken.prove.drill import Interruption
from unbroken.prove.proof import ProofPlan, run_proof

pytestmark = pytest.mark.usefixtures("uninterrupted")  # torch's lazy imports, once for all forks


def forked(command: Sequence[str], variables: Mapping[str, str], log: Path) -> int:
    """A launch without the import of torch: a fork of this process."""
    folder = Path(variables["UNBROKEN_FOLDER"])
    return start_as_program(variables, log, lambda: digits.main(command[2], folder, workers=1))


def certify(work: Path, fault: str, *at: str) -> Certificate:
    command = [sys.executable, digits.__file__, fault]
    interruptions = [Interruption.parse(text) for text in at]
    plan = ProofPlan(command=command, work=work, launch=forked, interruptions=interruptions, controls=["rng"])
    return run_proof(plan, lambda _: None)


@pytest.mark.long
def test_digits_with_workers_epochs_early_stopping_and_the_best_are_certified(tmp_path: Path) -> None:
    certificate = certify(tmp_path / "work", "", "TERM@3", "KILL@5:end", "TERM@10", "KILL@12")
    assert certificate.exit_code == 0, certificate.sentence


@pytest.mark.long
@pytest.mark.parametrize(
    ("fault", "code", "named"), [("optimizer", 3, "tensor "), ("schedule", 4, "main.schedule (ExponentialLR")]
)
def test_what_digits_forgets_is_found(fault: str, code: int, named: str, tmp_path: Path) -> None:
    """A schedule whose rate is in the optimizer's state makes no difference in the bytes, but is named."""
    certificate = certify(tmp_path / "work", fault, "TERM@12")
    assert (certificate.exit_code, named in certificate.sentence) == (code, True), certificate.sentence
