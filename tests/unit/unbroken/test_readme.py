"""The example of the README is a program: it runs, resumes in the same bytes, and costs ten lines."""

from __future__ import annotations

import os
import re
import signal
import sys
from pathlib import Path

import pytest

import unbroken
from tests.support import toy_training
from tests.support.forks import in_child
from unbroken.prove import command as prove_command

README = Path(unbroken.__file__).with_name("README.md")
PROGRAM, *RECIPES = (
    block
    for block in re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    if "StopFlag.install()" in block  # the others are parts of programs
)

pytestmark = pytest.mark.usefixtures("uninterrupted")  # torch's lazy imports, once for all forks


def started(folder: Path, interrupt: str = "", program: str = PROGRAM) -> int:
    def action() -> None:
        os.environ.update(UNBROKEN_FOLDER=str(folder), UNBROKEN_INTERRUPT=interrupt)
        exec(compile(program, str(README), "exec"), {"__name__": "__main__"})

    return in_child(action)


def final(folder: Path) -> dict[str, bytes]:
    return toy_training.contents(folder / "checkpoints" / "step-00000060")


def test_the_example_resumes_in_the_same_bytes(tmp_path: Path) -> None:
    assert started(tmp_path / "one") == 0
    for interrupt, status in [("TERM@7", 75), ("KILL@33", -signal.SIGKILL), ("INT@34", 75), ("", 0)]:
        assert started(tmp_path / "two", interrupt) == status
    assert final(tmp_path / "two") == final(tmp_path / "one")


@pytest.mark.long
@pytest.mark.filterwarnings("ignore:'set_vital'")  # torchdata's
@pytest.mark.parametrize("number", range(len(RECIPES)))
def test_every_recipe_resumes_in_the_same_bytes(number: int, tmp_path: Path) -> None:
    if "torchdata" in RECIPES[number]:
        pytest.importorskip("torchdata", reason="needs torchdata, which is in no lock: pip install torchdata")
    one, two = tmp_path / "one", tmp_path / "two"
    assert started(one, program=RECIPES[number]) == 0
    for interrupt, status in [("TERM@3", 75), ("KILL@16", -signal.SIGKILL), ("TERM@18:end", 75), ("", 0)]:
        assert started(two, interrupt, RECIPES[number]) == status
    last = max((one / "checkpoints").glob("step-*"))
    assert toy_training.contents(last) == toy_training.contents(two / "checkpoints" / last.name)
    pins = [path.relative_to(one) for path in one.glob("pins/*/*")]
    assert all(toy_training.contents(one / pin) == toy_training.contents(two / pin) for pin in pins)


def test_there_are_recipes() -> None:
    assert len(RECIPES) >= 1
    assert all("DataLoader" in recipe for recipe in RECIPES)


def test_it_costs_ten_lines_at_most() -> None:
    assert 5 < sum("# +" in line for line in PROGRAM.splitlines()) <= 10


@pytest.mark.slow
def test_prove_certifies_the_example(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    program = tmp_path / "train.py"
    program.write_text(PROGRAM)
    common = ["--certificate", str(tmp_path / "certificate.json")]
    assert prove_command.run_prove_command(["prove", *common, "--", sys.executable, str(program)]) == 0
    assert "identical" in capsys.readouterr().out
    assert (
        prove_command.run_prove_command(["prove", *common, "--sabotage", "rng", "--", sys.executable, str(program)])
        == 3
    )
    assert re.search(r"first at step \d+: tensor ", capsys.readouterr().out)
