"""What a user sees of an error that nobody catches: one sentence, and never two tracebacks chained."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
from unbroken.preemption import StopFlag
stop = {flag}
import os, sys
import torch
from pathlib import Path
from unbroken import Identity, Run

class Forgets:
    value = 0
    def state_dict(self):
        return {{"value": Forgets.value}}
    def load_state_dict(self, state):
        Forgets.value = 7

class Refuses(Forgets):
    def load_state_dict(self, state):
        return {{}}["missing"]

def run(steps=2, of=None, lr=0.1, **state):
    state = state or {{"model": torch.nn.Linear(2, 2)}}
    with Run(Path("run"), identity=Identity({{"lr": lr}}), state=state, stop=stop, every=1, lock_timeout=0) as entered:
        for step in entered.steps(steps):
            if step == of:
                raise ValueError("a bug")
            entered.log(loss=step)
        return entered

def each(pattern, change):
    for path in Path("run/checkpoints").glob(pattern):
        path.write_bytes(change(path.read_bytes()))

{case}
"""

CASES = {
    "another identity": ("run(); run(lr='x' * 5000)", "The run folder run belongs to identity "),
    "locked": (
        "from unbroken.run_folder.lock import FolderLock\nos.mkdir('run'); lock = FolderLock(Path('run'), 0); run()",
        "The run folder ",
    ),
    "no folder": ("Path('run').write_text('a file'); run()", "Could not make the run folder at run: "),
    "another shape": ("run(); run(model=torch.nn.Linear(3, 2))", "`model` refused its stored state: "),
    "a refusal of the user's own": ("run(box=Forgets()); run(box=Refuses())", "`box` refused its stored state: "),
    "inexact": ("run(box=Forgets()); run(box=Forgets())", "The state did not come back as it was stored: "),
    "not storable": ("run(box={'x': object()})", "The state at box/x holds a builtins.object"),
    "unknown dtype": ("run(box={'x': torch.ones(1).to(torch.complex128)})", "Tensor box/x has dtype "),
    "an array of text": (
        "import numpy\nrun(box={'x': numpy.array(['a'])})",
        "The array at box/x has dtype <U1, which cannot be stored.",
    ),
    "nothing whole": (
        "run(); each('step-*/tensors*', lambda data: data[:-1]); run()",
        "The folder run/checkpoints has",
    ),
    "a newer schema": (
        "run(); each('step-*/manifest.json', lambda data: data.replace(b'unbroken/1', b'unbroken/9')); run()",
        "run/checkpoints/step-00000002/manifest.json was written by a version of unbroken with",
    ),
    "damaged, read directly": (
        "from unbroken.checkpoint.store import load_checkpoint\nload_checkpoint(Path('run'))",
        "No checkpoint could be read from run (ENOENT",
    ),
    "past the steps": ("run(); run(1)", "The run in run is at step 2 already"),
}


FAST = ("another identity", "a refusal of the user's own", "nothing whole")
"""The others have the same words with and without the hook, and each costs a start of torch."""


def finish(work: Path, case: str, flag: str) -> tuple[int, str]:
    program = PROGRAM.format(case=case, flag=flag)
    environment = {name: value for name, value in os.environ.items() if name != "UNBROKEN_VERDICT"}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=work, env=environment, capture_output=True, text=True, timeout=240)
    return done.returncode, done.stderr.replace(f"{work}/", "")


@pytest.mark.parametrize("name", [pytest.param(name, marks=() if name in FAST else pytest.mark.slow) for name in CASES])
def test_an_error_is_one_sentence(name: str, tmp_path: Path) -> None:
    case, beginning = CASES[name]
    code, said = finish(tmp_path, case, "StopFlag.install()")
    last = said.splitlines()[-1]
    assert last.startswith(f"error: {beginning}"), said
    assert len(last) < 1000
    assert "Traceback" not in said
    assert code == (2 if name == "another identity" else 1)


@pytest.mark.long
@pytest.mark.parametrize("name", CASES)
def test_without_the_hook_it_is_one_traceback_that_ends_in_the_sentence(name: str, tmp_path: Path) -> None:
    case, beginning = CASES[name]
    code, said = finish(tmp_path, case, "StopFlag()")
    assert said.count("Traceback") == 1, said
    assert said.splitlines()[-1].partition(": ")[2].startswith(beginning)
    assert "another exception" not in said
    assert "direct cause" not in said
    assert code == 1


@pytest.mark.long
def test_an_error_of_ours_does_not_hide_the_bug_before_it(tmp_path: Path) -> None:
    case = (
        "from unbroken.errors import UnbrokenError\n"
        "try:\n    1 / 0\nfinally:\n    raise UnbrokenError('Another fault while the program was ending.')"
    )
    code, said = finish(tmp_path, case, "StopFlag.install()")
    assert said.count("Traceback") == 1
    assert "ZeroDivisionError: division by zero" in said
    assert said.splitlines()[-1] == "error: Another fault while the program was ending."
    assert code == 1


@pytest.mark.long
def test_a_refusal_says_where_the_users_own_code_gave_up(tmp_path: Path) -> None:
    _, said = finish(tmp_path, CASES["a refusal of the user's own"][0], "StopFlag.install()")
    assert re.search(r"'missing' \(KeyError in <string>, line \d+\)", said)
