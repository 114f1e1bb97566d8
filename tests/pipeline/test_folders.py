"""The report of an execution that was interrupted five times is that of one that nothing disturbed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.workspace import ROOT


@pytest.mark.slow
def test_two_folders_one_interrupted_five_times(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.folders", "--profile", "tiny", "--folder", str(tmp_path / "both")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("interrupted: ") == 5
    assert "byte for byte the same" in done.stdout
