"""The programs of `examples/`: short, shown as they are, and each proved to survive."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from unbroken.prove.drill import Interruption
from unbroken.prove.proof import ProofPlan, run_proof

EXAMPLES = Path(__file__).parents[3] / "examples"
PYTHON = [sys.executable]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
CASES = [
    ("digits", PYTHON, [Interruption("TERM", 30), Interruption("KILL", 101)], ["best"]),
    ("time_series", PYTHON, [Interruption("KILL", 13), Interruption("TERM", 120)], ["carried"]),
    ("hf_trainer", PYTHON, [Interruption("TERM", 20), Interruption("KILL", 41)], ["optimizer"]),
    ("ddp", TORCHRUN, [Interruption("TERM", 40), Interruption("KILL", 77)], ["optimizer"]),
]


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_an_example_is_read_at_a_glance(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) < 80


def test_the_page_names_every_example_and_shows_the_difference_that_is_there() -> None:
    page = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    assert all(f"`{path.name}`" in page for path in EXAMPLES.glob("*.py"))
    command = ["diff", "-b", "-U1", "digits_plain.py", "digits.py"]
    told = subprocess.run(command, cwd=EXAMPLES, capture_output=True, text=True, check=False)
    assert told.returncode == 1, told.stderr
    body = told.stdout.split("\n", 2)[2]  # the first two lines have the times of the files
    assert f"```diff\n{body}```" in page


@pytest.mark.long
@pytest.mark.parametrize(("name", "launcher", "at", "controls"), CASES, ids=[case[0] for case in CASES])
def test_an_example_survives(
    name: str,
    launcher: Sequence[str],
    at: Sequence[Interruption],
    controls: Sequence[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    plan = ProofPlan(
        command=[*launcher, str(EXAMPLES / f"{name}.py")],
        work=tmp_path,
        interruptions=at,
        every=None,
        controls=controls,
        rank=1 if launcher is TORCHRUN else None,
    )
    certificate = run_proof(plan, lambda _sentence: None)
    assert certificate.exit_code == 0, certificate.to_table()
