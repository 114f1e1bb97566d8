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
from unbroken.state import Snapshot
from unbroken.writer import Order, Writer

ROOT = Path(__file__).parents[3]


def test_the_trainer_benchmark_says_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def nothing() -> Any:
        raise ConfigurationError("There are no features of rotten_tomatoes.")

    monkeypatch.setattr(sys, "argv", ["trainer"])
    assert trainer.main(nothing) == 1
    assert "To go on: `make setup`, then `dvc repro encode`." in capsys.readouterr().err


def test_blocks_with_and_without_saves_take_turns_and_the_first_pair_does_not_count() -> None:
    saved: list[int] = []

    def save(order: Order, snapshot: Snapshot) -> Path:
        saved.append(order.step)
        return Path()

    blocks = trainer.Blocks(Writer(save, background=False), size=10, pairs=3)
    assert list(blocks.steps(1)) == list(range(1, 81))
    assert saved == [10, 40, 50, 80], "either kind of block comes first as often"
    assert len(blocks.lost) == 3


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
