"""The benchmark of `make bench-checkpoint` runs, also where peers are not installed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


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
