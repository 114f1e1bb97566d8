"""The benchmark of `make bench-checkpoint` runs, also where peers are not installed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import trainer
from latentwire.errors import ConfigurationError
from unbroken.checkpoint.state import Snapshot
from unbroken.checkpoint.writer import SaveRequest, SaveResult, Writer

ROOT = Path(__file__).parents[3]


def test_the_trainer_benchmark_says_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def nothing() -> Any:
        raise ConfigurationError("There are no features of rotten_tomatoes.")

    monkeypatch.setattr(sys, "argv", ["trainer"])
    assert trainer.main(nothing) == 1
    assert "Next: `make setup`, then `dvc repro encode`." in capsys.readouterr().err


def test_kinds_of_blocks_take_turns_and_the_first_block_does_not_count() -> None:
    saved: dict[str, list[int]] = {trainer.INSIDE: [], trainer.BESIDE: []}

    def writer(name: str) -> Writer:
        def save(order: SaveRequest, _snapshot: Snapshot) -> Path:
            saved[name].append(order.step)
            return Path()

        return Writer(save, background=name == trainer.BESIDE)

    blocks = trainer.Blocks({name: writer(name) for name in saved}, size=10, rounds=3)
    assert list(blocks.steps(1)) == list(range(1, 101))
    assert saved == {trainer.INSIDE: [30, 50, 100], trainer.BESIDE: [40, 60, 80]}, "each kind is in each place once"
    for name in saved:
        assert len(blocks.lost[name]) == len(blocks.busy[name]) == 3
        assert all(0.0 < share < 1.0 for share in blocks.busy[name])


def test_what_a_save_takes_is_the_copy_and_the_writing_however_it_was_done() -> None:
    order = SaveRequest(1, None, False)
    assert trainer.duration(SaveResult(order, blocked=0.1, seconds=2.0), trainer.BESIDE) == 2.1, (
        "copied in the loop, written beside it"
    )
    assert trainer.duration(SaveResult(order, blocked=2.0, seconds=1.9), trainer.INSIDE) == 2.0, (
        "written while the loop waited"
    )
    with pytest.raises(OSError, match="full"):
        trainer.duration(SaveResult(order, error=OSError("full")), trainer.BESIDE)


@pytest.mark.slow
def test_the_benchmark_prints_ratios(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "benchmarks.checkpoint",
        "--sizes",
        "1",
        "--repeats",
        "1",
        "--folder",
        str(tmp_path),
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    printed = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout
    assert "x one memcpy of the state" in printed
    assert "of a raw write + fsync" in printed
    assert "start to first new step" in printed
