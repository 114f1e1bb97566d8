"""Exit codes and sentences of a stage as a process (invariant I7)."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from latentwire.errors import ConfigurationError, EvidenceError, LatentWireError
from latentwire.exits import exit_code_of
from unbroken.errors import IdentityError, StorageError
from unbroken.preemption import Preempted


def raising(error: BaseException | None) -> int:
    def main(argv: Sequence[str] | None) -> None:
        if error is not None:
            raise error

    return exit_code_of(main)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (None, 0),
        (LatentWireError("it failed"), 1),
        (EvidenceError("a cell is missing"), 1),
        (StorageError("the disk is full"), 1),
        (ConfigurationError("no such key"), 2),
        (IdentityError("another run"), 2),
        (Preempted("stopped"), 75),
        (SystemExit(2), 2),
        (SystemExit("text"), 1),
        (SystemExit(None), 0),
    ],
)
def test_exit_codes(error: BaseException | None, code: int) -> None:
    assert raising(error) == code


def test_a_known_error_is_one_sentence_and_a_bug_a_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    raising(ConfigurationError("found this, expected that"))
    assert capsys.readouterr().err == "error: found this, expected that\n"
    assert raising(ZeroDivisionError("bug")) == 1
    assert "Traceback" in capsys.readouterr().err


STUBBORN = """
import sys, time
from latentwire.exits import run_stage
from unbroken.preemption import StopFlag
assert "torch" not in sys.modules, "signals must be caught before torch is imported"
def main(argv):
    print("ready", flush=True)
    while True:
        StopFlag.install().check()
        time.sleep(0.01)
run_stage(main)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2])
def test_every_stop_signal_means_75_also_when_repeated(number: signal.Signals) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", STUBBORN], stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": "src"}
    )
    assert process.stdout is not None
    with process.stdout:
        assert process.stdout.readline() == "ready\n"
        while process.poll() is None:
            process.send_signal(number)
            try:
                process.wait(0.02)
            except subprocess.TimeoutExpired:
                continue
    assert process.returncode == 75


# CPython resets its handlers first and takes the modules apart then.
LATE = """
import os, signal
from latentwire.exits import run_stage
class Late:
    def __del__(self, strike=os.kill, pid=os.getpid(), number=signal.SIGTERM):
        strike(pid, number)
        print("struck", flush=True)
late = Late()
run_stage(lambda argv: None)
"""


def test_a_signal_after_the_end_changes_no_exit_code() -> None:
    own = {**os.environ, "PYTHONPATH": "src"}
    done = subprocess.run([sys.executable, "-c", LATE], env=own, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "struck\n")


def test_a_stage_that_does_not_look_at_the_flag_leaves_a_verdict(tmp_path: Path) -> None:
    deaf = STUBBORN.replace("StopFlag.install().check()", "pass")
    own = {"PYTHONPATH": "src", "UNBROKEN_VERDICT": str(tmp_path / "verdict.json"), "UNBROKEN_DEADLINE_S": "0.2"}
    process = subprocess.Popen(
        [sys.executable, "-c", deaf], stdout=subprocess.PIPE, text=True, env={**os.environ, **own}
    )
    assert process.stdout is not None
    with process.stdout:
        assert process.stdout.readline() == "ready\n"
        process.terminate()
        assert process.wait(60) == 75
    assert json.loads((tmp_path / "verdict.json").read_text()) == {"exit": 75, "signal": "SIGTERM", "step": None}


STAGES = sorted(path.stem for path in (Path(__file__).parents[2] / "src/latentwire/stages").glob("[a-z]*.py"))
HEAVY = ("mlflow", "pandas", "torch", "transformers")


def loaded_by(module: str) -> str:
    """The heavy packages that importing a module brings."""
    code = f"import sys, {module}; print(*[name for name in {HEAVY} if name in sys.modules])"
    own = {**os.environ, "PYTHONPATH": "src"}
    done = subprocess.run([sys.executable, "-c", code], env=own, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.mark.parametrize("stage", STAGES)
def test_signals_are_caught_before_anything_heavy_is_imported(stage: str) -> None:
    assert loaded_by(f"latentwire.stages.{stage}") == ""


@pytest.mark.long
def test_training_loads_neither_pandas_nor_mlflow() -> None:
    assert loaded_by("latentwire.pipeline.train") == "torch transformers"
