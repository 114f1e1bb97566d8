"""The callback for the Trainer of Lightning, which `make test-lightning` installs into an environment of its own."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from tests.support.interruptions import (
    check_every_step,
    finish_training,
    prove_program,
    read_result,
    read_verdict,
    train_on_two_ranks,
)
from unbroken.errors import UnbrokenError
from unbroken.preemption import Preempted, StopFlag

pytest.importorskip("pytorch_lightning", reason="Lightning is no requirement: make test-lightning")

from tests.support.loops.lightning_loop import ByHand, Stream, train

pytestmark = pytest.mark.filterwarnings("ignore")  # those of Lightning

KINDS: dict[str, dict[str, Any]] = {
    "epochs": {},
    "workers": {"workers": 2, "max_epochs": 2},
    "every third batch": {"val_check_interval": 3, "check_val_every_n_epoch": None, "accumulate_grad_batches": 1},
    "steps": {"max_steps": 7, "max_epochs": -1},
    "steps inside an epoch": {
        "max_steps": 5,
        "max_epochs": None,
        "val_check_interval": 3,
        "check_val_every_n_epoch": None,
        "accumulate_grad_batches": 1,
    },
    "stream": {"data": Stream()},
    "steps of a stream": {"data": Stream(), "max_steps": 5, "max_epochs": -1, "val_check_interval": 1.0},
    "by hand": {"module": ByHand, "accumulate_grad_batches": 1},
    "steps by hand": {"module": ByHand, "accumulate_grad_batches": 1, "max_steps": 7, "max_epochs": -1},
    "left early": {"ends_in": 5},
}


@pytest.mark.parametrize("options", KINDS.values(), ids=KINDS.keys())
def test_interrupted_in_every_step(tmp_path: Path, options: dict[str, Any]) -> None:
    check_every_step(train, tmp_path, **options)


@pytest.mark.parametrize("name", ["epochs", "steps inside an epoch", "by hand", "left early"])
def test_a_finished_run_trains_nothing(tmp_path: Path, name: str) -> None:
    finish_training(train, tmp_path, **KINDS[name])
    whole = read_result(tmp_path)
    train(tmp_path, StopFlag(), pytest.fail, **KINDS[name])
    assert read_result(tmp_path) == whole


@pytest.mark.parametrize(("name", "code"), [("left early", 75), ("steps", 0), ("epochs", 0)])
def test_a_stop_in_the_last_step(tmp_path: Path, name: str, code: int) -> None:
    """A fit that ends early may have ended because of it, and is repeated; one that made all its steps is done."""
    steps: list[int] = []
    train(tmp_path / "whole", StopFlag(), steps.append, **KINDS[name])
    stop = StopFlag()
    with pytest.raises(Preempted) if code else nullcontext():
        train(tmp_path / "cut", stop, lambda step: stop.set("SIGTERM") if step == steps[-1] else None, **KINDS[name])
    assert read_verdict(tmp_path / "cut") == code
    finish_training(train, tmp_path / "cut", **KINDS[name])
    assert read_result(tmp_path / "cut") == read_result(tmp_path / "whole")


def test_a_step_by_hand_ends_where_an_optimizer_has_stepped(tmp_path: Path) -> None:
    """Six batches of an epoch, of which the second, fourth and sixth have a step; in between gradients are gathered."""
    finish_training(train, tmp_path, **KINDS["by hand"])
    assert read_result(tmp_path)["journal.jsonl"].count(b"\n") == 9


def test_proof(tmp_path: Path) -> None:
    certificate = prove_program("lightning_loop.py", tmp_path, controls=["fit"])
    assert certificate.exit_code == 0, certificate.sentence


def test_proof_of_a_program_that_forgets(tmp_path: Path) -> None:
    certificate = prove_program("lightning_loop.py", tmp_path, ["TERM@4"], fault="attribute")
    assert certificate.exit_code == 3, certificate.sentence
    assert "differs" in certificate.to_table()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"enable_checkpointing": True}, "a ModelCheckpoint without `dirpath`"),
        ({"max_time": {"hours": 1}}, "an end by the clock"),
    ],
)
def test_what_cannot_be_exact_is_refused(tmp_path: Path, options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UnbrokenError, match=f"cannot be resumed exactly with {sentence}.*Next: "):
        finish_training(train, tmp_path, **options)


def test_several_processes_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    done = train_on_two_ranks("lightning_loop", tmp_path, "devices=2, strategy='ddp'")
    assert done.returncode != 0
    assert (
        "This Trainer cannot be resumed exactly with 2 processes. Next: Trainer(devices=1, num_nodes=1)." in done.stderr
    )
    assert not (tmp_path / "work").exists()
