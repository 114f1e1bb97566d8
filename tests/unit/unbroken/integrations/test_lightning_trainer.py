"""The callback for the Trainer of Lightning, which `make test-lightning` installs into an environment of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.interruptions import finish_training, interrupt_training, prove_program, read_result
from unbroken.errors import UnbrokenError
from unbroken.preemption import StopFlag

pytest.importorskip("pytorch_lightning", reason="Lightning is no requirement: make test-lightning")

from tests.support.loops.lightning_loop import train

pytestmark = pytest.mark.filterwarnings("ignore")  # those of Lightning

KINDS: dict[str, dict[str, Any]] = {
    "epochs": {},
    "workers": {"workers": 2, "max_epochs": 2},
    "every third batch": {"val_check_interval": 3, "check_val_every_n_epoch": None, "accumulate_grad_batches": 1},
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
    certificate = prove_program("lightning_loop.py", tmp_path, at, controls=["fit"])
    assert certificate.exit_code == 0, certificate.sentence


def test_proof_of_a_program_that_forgets(tmp_path: Path) -> None:
    certificate = prove_program("lightning_loop.py", tmp_path, ["TERM@4"], fault="attribute")
    assert certificate.exit_code == 3, certificate.sentence
    assert "differs" in certificate.to_table()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"enable_checkpointing": True}, "a ModelCheckpoint without `dirpath`"),
        ({"max_steps": 5}, "`max_steps`"),
        ({"max_time": {"hours": 1}}, "an end by the clock"),
    ],
)
def test_what_cannot_be_exact_is_refused(tmp_path: Path, options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UnbrokenError, match=f"cannot be resumed exactly with {sentence}.*Next: "):
        finish_training(train, tmp_path, **options)
