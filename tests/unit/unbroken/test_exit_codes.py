"""Exit codes of plain scripts, without any `try` of the user's own, and the verdict beside them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from unbroken.launcher.local_ranks import find_free_port

PROGRAM = """
from unbroken.preemption import StopFlag
stop = StopFlag.install()
import os, sys, time
import torch
from pathlib import Path
from unbroken import Identity, Run
{before}
identity = Identity({{"lr": os.environ.get("LR", "0.1")}})
with Run(Path("run"), identity=identity, state={{"cursor": {{"at": 0}}}}, stop=stop, lock_timeout=0) as run:
    for step in run.steps(6):
        run.log(loss=1.0)
{inside}
{after}
"""


def start(work: Path, inside: str = "", before: str = "", after: str = "", **variables: str) -> subprocess.Popen[str]:
    program = PROGRAM.format(before=before, inside=f"        {inside}", after=after)
    environment = {**os.environ, "UNBROKEN_VERDICT": str(work / "verdict.json"), **variables}
    return subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=work,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    _, said = process.communicate(timeout=60)
    return process.returncode, said


def verdict(work: Path) -> dict[str, Any]:
    return json.loads((work / "verdict.json").read_text())  # type: ignore[no-any-return]


@pytest.mark.long
def test_another_identity_is_2_and_one_sentence(tmp_path: Path) -> None:
    assert finish(start(tmp_path)) == (0, "")
    code, said = finish(start(tmp_path, LR="0.2"))
    assert code == 2
    assert said.startswith(f"error: The run folder {tmp_path / 'run'} belongs to identity ")
    assert said.count("\n") == 1
    assert verdict(tmp_path) == {"exit": 2, "signal": None, "step": None}
    assert json.loads((tmp_path / "run" / "verdict.json").read_text())["exit"] == 0


@pytest.mark.long
def test_any_error_of_ours_is_one_sentence_without_the_errors_behind_it(tmp_path: Path) -> None:
    code, said = finish(start(tmp_path, before="Path('run').write_text('a file')"))
    assert code == 1
    assert said.startswith(f"error: Could not make the run folder at {tmp_path / 'run'}: the system answered EEXIST")
    assert said.count("\n") == 1
    assert verdict(tmp_path)["exit"] == 1


@pytest.mark.long
def test_a_sentence_is_said_although_torch_has_a_hook_for_its_processes(tmp_path: Path) -> None:
    before = (
        "import torch.distributed as dist\nstore = dist.HashStore()\n"
        "dist.init_process_group('gloo', store=store, rank=0, world_size=1)\n"
        "from unbroken.errors import IdentityError\ntry:\n    1 / 0\nexcept ZeroDivisionError:\n"
        "    raise IdentityError('Other data.')"
    )
    code, said = finish(start(tmp_path, before=before))
    assert code == 2
    assert said.endswith("error: Other data.\n")
    assert "ZeroDivisionError" in said


def test_a_bug_keeps_its_traceback(tmp_path: Path) -> None:
    code, said = finish(start(tmp_path, "if step == 3: 1 / 0"))
    assert code == 1
    assert "Traceback" in said
    assert said.endswith("ZeroDivisionError: division by zero\n")
    assert verdict(tmp_path) == {"exit": 1, "signal": None, "step": 0}


def test_a_hook_that_was_there_before_gets_what_is_not_ours(tmp_path: Path) -> None:
    program = (
        "import sys\nsys.excepthook = lambda *_: print('seen')\nfrom unbroken.preemption import StopFlag\n"
        "StopFlag.install()\nStopFlag.install()\n1 / 0\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "seen\n")


@pytest.mark.long
@pytest.mark.parametrize(("code", "expected"), [("3", 3), ("'a sentence'", 1), ("75", 75), ("2", 2)])
def test_the_verdict_is_the_exit_code_of_an_exit_inside(code: str, expected: int, tmp_path: Path) -> None:
    assert finish(start(tmp_path, f"if step == 3: sys.exit({code})"))[0] == expected
    assert verdict(tmp_path)["exit"] == expected


def test_the_verdict_of_an_error_of_ours_inside_is_its_exit_code(tmp_path: Path) -> None:
    inside = "if step == 3: from unbroken.errors import IdentityError; raise IdentityError('Other data.')"
    assert finish(start(tmp_path, inside.replace(": from", ":\n            from"))) == (2, "error: Other data.\n")
    assert verdict(tmp_path)["exit"] == 2


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_signals_from_the_end_to_the_exit_change_nothing(number: signal.Signals, tmp_path: Path) -> None:
    process = start(tmp_path, after="print('done', flush=True)\ntime.sleep(0.1)")
    assert process.stdout is not None
    assert process.stdout.readline() == "done\n"
    while process.poll() is None:
        process.send_signal(number)
        time.sleep(0.001)
    assert finish(process) == (0, "")
    assert verdict(tmp_path)["exit"] == 0


@pytest.mark.long
def test_signals_during_the_shutdown_after_an_error_change_nothing(tmp_path: Path) -> None:
    finish(start(tmp_path))
    process = start(tmp_path, before="print('ready', flush=True)", LR="0.2")
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.05)
    while process.poll() is None:
        process.send_signal(signal.SIGUSR2)
        time.sleep(0.001)
    assert finish(process)[0] == 2


def torchrun(work: Path, program: str, processes: int = 1) -> Sequence[str]:
    path = work / "train.py"
    path.write_text(program)
    options = (
        f"--nproc-per-node={processes} --rdzv-backend=c10d --rdzv-endpoint=127.0.0.1:{find_free_port('127.0.0.1')}"
    )
    return [sys.executable, "-m", "torch.distributed.run", *options.split(), str(path)]


@pytest.mark.long
def test_torchrun_turns_75_into_1_and_the_verdict_keeps_it(tmp_path: Path) -> None:
    program = PROGRAM.format(before="", inside="        time.sleep(0)", after="")
    environment = {**os.environ, "UNBROKEN_INTERRUPT": "TERM@4", "UNBROKEN_VERDICT": str(tmp_path / "verdict.json")}
    done = subprocess.run(torchrun(tmp_path, program), cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert verdict(tmp_path) == {"exit": 75, "signal": "SIGTERM", "step": 4}


@pytest.mark.long
def test_a_group_that_nobody_closed_is_closed_at_the_exit(tmp_path: Path) -> None:
    program = (
        "import atexit\n"
        "import os\ndef look():\n    os.write(1, b'open ' if dist.is_initialized() else b'closed ')\n"
        "atexit.register(look)\n"  # the first to be registered is the last to run
        "from unbroken.preemption import StopFlag\nstop = StopFlag.install()\n"
        "import torch.distributed as dist\nfrom unbroken.processes.distributed import join_group\n"
        "group = join_group(stop)\ngroup.barrier()\nif group.rank: group.close(); group.close()\n"
    )
    done = subprocess.run(torchrun(tmp_path, program, 2), cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["closed", "closed"]
