"""What a process says of the kernels that its environment asks for, and which it hands on."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence

import pytest

from unbroken.environment import has_avx2

PROGRAMS = {
    "the command": ["-c", "from latentwire.cli import run; run(['doctor', '--help'])"],
    "a stage": ["-m", "latentwire.stages.code", "--help"],
}


def _run(arguments: Sequence[str], **variables: str) -> str:
    command = [sys.executable, *arguments]
    environment = {**os.environ, **variables}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, check=True).stderr


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_setting_that_is_not_followed_is_named_once_and_others_are_not(program: str) -> None:
    said = _run(PROGRAMS[program], OMP_NUM_THREADS="7", GOTO_NUM_THREADS="3", MKLROOT="/opt/mkl", OMP_PROC_BIND="true")
    assert said.count("The environment has OMP_NUM_THREADS=7, GOTO_NUM_THREADS=3, which would make other bits") == 1
    assert "MKLROOT" not in said
    assert "OMP_PROC_BIND" not in said


@pytest.mark.parametrize("program", PROGRAMS)
def test_nothing_is_said_where_nothing_is_replaced(program: str) -> None:
    assert "would make other bits" not in _run(PROGRAMS[program])


@pytest.mark.skipif(not has_avx2(), reason="without AVX2 no kernel is named")
def test_what_a_stage_starts_has_its_kernels() -> None:
    show = "import os; print(os.environ['MKL_CBWR'], os.environ['OMP_NUM_THREADS'])"
    program = (
        "import subprocess, sys\n"
        "from latentwire.exits import run_stage\n"
        f"run_stage(lambda _: subprocess.run([sys.executable, '-c', {show!r}], stdout=sys.stderr))"
    )
    assert _run(["-c", program], MKL_CBWR="AVX2", OMP_NUM_THREADS="4").endswith("COMPATIBLE 1\n")
