"""The callback for the Trainer of transformers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.support.interruptions import (
    check_every_step,
    finish_training,
    prove_program,
    read_result,
    read_verdict,
    train_on_two_ranks,
)
from tests.support.loops.hf_trainer_loop import train
from unbroken.errors import UnbrokenError
from unbroken.preemption import Preempted, StopFlag

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.long]  # those of transformers


class Stream(torch.utils.data.IterableDataset[dict[str, torch.Tensor]]):
    """Ten samples without a length, drawn as they are read."""

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        for number in range(10):
            yield {"input_ids": torch.randint(4, 50, (8,)), "labels": torch.tensor(number % 2)}


KINDS: dict[str, dict[str, Any]] = {
    "epochs": {},
    "workers": {"dataloader_num_workers": 2, "dataloader_persistent_workers": True, "num_train_epochs": 2},
    "steps": {"max_steps": 5, "eval_strategy": "steps", "eval_steps": 2, "lr_scheduler_type": "cosine"},
    "stream": {"train_data": Stream(), "max_steps": 5, "logging_first_step": True},
    "by length": {"train_sampling_strategy": "group_by_length", "num_train_epochs": 2, "dataloader_drop_last": True},
    "plain sampler": {"accelerator_config": {"use_seedable_sampler": False}, "gradient_accumulation_steps": 4},
    "best": {"load_best_model_at_end": True, "save_strategy": "epoch", "save_total_limit": 1, "num_train_epochs": 2},
    "early stop": {"learning_rate": 0.0, "num_train_epochs": 8},
    "plateau": {
        "lr_scheduler_type": "reduce_lr_on_plateau",
        "eval_on_start": True,
        "bf16": True,
        "num_train_epochs": 2,
    },
    "no accumulation": {"gradient_accumulation_steps": 1, "num_train_epochs": 2, "logging_strategy": "epoch"},
}


@pytest.mark.parametrize("options", KINDS.values(), ids=KINDS.keys())
def test_interrupted_in_every_step(tmp_path: Path, options: dict[str, Any]) -> None:
    check_every_step(train, tmp_path, **options)


def test_a_finished_run_trains_nothing(tmp_path: Path) -> None:
    finish_training(train, tmp_path)
    whole = read_result(tmp_path)
    train(tmp_path, StopFlag(), pytest.fail)
    assert read_result(tmp_path) == whole


@pytest.mark.parametrize("ends", ["early stop", "max_steps"])
def test_a_stop_in_the_last_step(tmp_path: Path, ends: str) -> None:
    """A training that ends early may have ended because of it, and is repeated; one that made all its steps is done."""
    options = KINDS["early stop"] if ends == "early stop" else {"max_steps": 3}
    finish_training(train, tmp_path / "whole", **options)
    whole = read_result(tmp_path / "whole")
    last, stop = whole["journal.jsonl"].count(b"\n"), StopFlag()
    with pytest.raises(Preempted) if ends == "early stop" else nullcontext():
        train(tmp_path / "cut", stop, lambda step: stop.set("SIGTERM") if step == last else None, **options)
    assert read_verdict(tmp_path / "cut") == (75 if ends == "early stop" else 0)
    for _ in range(2):  # and then it is done, although the Trainer is never at its `max_steps`
        finish_training(train, tmp_path / "cut", **options)
        assert read_result(tmp_path / "cut") == whole


def test_proof(tmp_path: Path) -> None:
    certificate = prove_program("hf_trainer_loop.py", tmp_path, controls=["trainer"])
    assert certificate.exit_code == 0, certificate.sentence


def test_proof_of_a_program_that_forgets(tmp_path: Path) -> None:
    certificate = prove_program("hf_trainer_loop.py", tmp_path, ["TERM@4"], fault="callback")
    assert certificate.exit_code == 3, certificate.sentence
    assert "differs" in certificate.to_table()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"ignore_data_skip": True}, "ignore_data_skip=True"),
        ({"auto_find_batch_size": True}, "auto_find_batch_size=True"),
        ({"enable_jit_checkpoint": True}, "enable_jit_checkpoint=True"),
    ],
)
def test_what_cannot_be_exact_is_refused(tmp_path: Path, options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UnbrokenError, match=rf"cannot be resumed exactly with {sentence}\. Next: leave it out"):
        finish_training(train, tmp_path, **options)
    assert [path.name for path in tmp_path.iterdir()] == ["output"]  # that of the trainer itself


def test_several_processes_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    done = train_on_two_ranks("hf_trainer_loop", tmp_path)
    assert done.returncode != 0
    assert (
        "The Trainer cannot be resumed exactly with 2 processes and 0 GPUs in each. Next: start one process, and"
        in done.stderr
    )
    assert not list(tmp_path.rglob("checkpoints"))
