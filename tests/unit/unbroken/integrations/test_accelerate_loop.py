"""The loop with accelerate."""

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
from tests.support.loops.accelerate_loop import train
from tests.support.toy_training import Unsynced
from unbroken.errors import StorageError
from unbroken.preemption import Preempted, StopFlag

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.long]  # those of accelerate

KINDS: dict[str, dict[str, Any]] = {
    "epochs": {},
    "workers": {"workers": 2},
    "left early": {"ends_in": 5},
}


@pytest.mark.parametrize("options", KINDS.values(), ids=KINDS.keys())
def test_interrupted_in_every_step(tmp_path: Path, options: dict[str, Any]) -> None:
    check_every_step(train, tmp_path, **options)


def test_a_finished_run_trains_nothing(tmp_path: Path) -> None:
    finish_training(train, tmp_path)
    whole = read_result(tmp_path)
    train(tmp_path, StopFlag(), pytest.fail)
    assert read_result(tmp_path) == whole


@pytest.mark.parametrize("way", ["break", "exit 0"])
def test_left_early_while_a_stop_is_asked_for_it_is_no_end(tmp_path: Path, way: str) -> None:
    leave: dict[str, Any] = {"ends_in": 5, "by_exit": way != "break"}
    with pytest.raises(SystemExit) if leave["by_exit"] else nullcontext():
        finish_training(train, tmp_path / "whole", **leave)
    assert read_verdict(tmp_path / "whole") == 0
    stop = StopFlag()
    with pytest.raises(Preempted):
        train(tmp_path / "cut", stop, lambda step: stop.set("SIGTERM") if step == 5 else None, **leave)
    assert read_verdict(tmp_path / "cut") == 75
    with pytest.raises(SystemExit) if leave["by_exit"] else nullcontext():
        finish_training(train, tmp_path / "cut", **leave)
    assert read_result(tmp_path / "cut") == read_result(tmp_path / "whole")


def test_a_final_save_that_fails_after_break_closes_the_run(tmp_path: Path) -> None:
    class Full(Unsynced):
        def make_folder(self, path: Path) -> None:
            raise OSError(28, "No space left on device", str(path))

    with pytest.raises(StorageError):
        train(tmp_path, StopFlag(), lambda _step: None, ends_in=2, files=Full(), every=9)
    assert read_verdict(tmp_path) == 1
    finish_training(train, tmp_path, ends_in=2)  # its lock is free


def test_proof(tmp_path: Path) -> None:
    certificate = prove_program("accelerate_loop.py", tmp_path, controls=["loader"])
    assert certificate.exit_code == 0, certificate.sentence


def test_proof_of_a_program_that_forgets(tmp_path: Path) -> None:
    certificate = prove_program("accelerate_loop.py", tmp_path, ["TERM@4"], fault="average")
    assert certificate.exit_code == 3, certificate.sentence
    assert "average.pt" in certificate.to_table()


def test_several_processes_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    done = train_on_two_ranks("accelerate_loop", tmp_path)
    assert done.returncode != 0
    assert (
        "A loop with accelerate is exact in one process, found 2. Next: accelerate launch --num_processes 1"
        in done.stderr
    )
    assert not list(tmp_path.rglob("checkpoints"))
