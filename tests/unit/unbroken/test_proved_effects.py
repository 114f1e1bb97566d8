"""`prove`, with interruptions that it chooses itself, on programs that freeze, hook, close over and keep globals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from tests.support import inexact_trainings
from tests.support.forks import start_as_program
from tests.support.programs_with_effects import FORGOTTEN, KEPT
from unbroken.prove.certificate import Certificate
from unbroken.prove.proof import ProofPlan, run_proof

pytestmark = pytest.mark.usefixtures("uninterrupted")  # torch's lazy imports, once for all forks


def forked(command: Sequence[str], variables: Mapping[str, str], log: Path) -> int:
    return start_as_program(variables, log, lambda: inexact_trainings.main(command[-1]))


def certify(name: str, work: Path, seed: int) -> Certificate:
    plan = ProofPlan(command=[name], work=work, seed=seed, controls=["optimizer"], launch=forked)
    return run_proof(plan, lambda _sentence: None)


@pytest.mark.long
@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("name", KEPT)
def test_what_is_kept_is_certified(name: str, seed: int, tmp_path: Path) -> None:
    certificate = certify(name, tmp_path, seed)
    assert certificate.exit_code == 0, certificate.to_table()


@pytest.mark.long
@pytest.mark.parametrize("name", FORGOTTEN)
def test_what_is_forgotten_is_found(name: str, tmp_path: Path) -> None:
    certificate = certify(name, tmp_path, seed=1)
    code, named = FORGOTTEN[name]
    assert certificate.exit_code == code, certificate.to_table()
    places = (certificate.fields["first_difference"] or {}).get("places", [])
    assert any(named in found for found in [certificate.sentence, *places]), certificate.to_table()
