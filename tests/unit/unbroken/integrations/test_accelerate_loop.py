"""The loop with accelerate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.interruptions import finish_training, interrupt_training, prove_program, read_result
from tests.support.loops.accelerate_loop import train
from unbroken.preemption import StopFlag

pytestmark = pytest.mark.filterwarnings("ignore")  # those of accelerate

KINDS: dict[str, dict[str, Any]] = {
    "epochs": {},
    "workers": {"workers": 2},
    "left early": {"ends_in": 5},
}


@pytest.mark.parametrize("kind", ["TERM", "KILL"])
@pytest.mark.parametrize("options", KINDS.values(), ids=KINDS.keys())
def test_interrupted_in_every_step(tmp_path: Path, options: dict[str, Any], kind: str) -> None:
    finish_training(train, tmp_path / "whole", **options)
    whole = read_result(tmp_path / "whole")
    steps = whole["journal.jsonl"].count(b"\n")
    interrupt_training(train, tmp_path / "cut", kind, range(1, steps), **options)
    assert read_result(tmp_path / "cut") == whole


def test_a_finished_run_trains_nothing(tmp_path: Path) -> None:
    finish_training(train, tmp_path)
    whole = read_result(tmp_path)
    train(tmp_path, StopFlag(), pytest.fail)
    assert read_result(tmp_path) == whole


def test_proof(tmp_path: Path) -> None:
    at = ["TERM@4", "KILL@5:save", "KILL@:resume"]
    certificate = prove_program("accelerate_loop.py", tmp_path, at, controls=["loader"])
    assert certificate.exit_code == 0, certificate.sentence


def test_proof_of_a_program_that_forgets(tmp_path: Path) -> None:
    certificate = prove_program("accelerate_loop.py", tmp_path, ["TERM@4"], fault="average")
    assert certificate.exit_code == 3, certificate.sentence
    assert "average.pt" in certificate.to_table()
