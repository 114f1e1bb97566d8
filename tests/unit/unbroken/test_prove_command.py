"""`python -m unbroken prove`: its options, its exit codes, and what it leaves behind when it is ended itself."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support import toy_training
from tests.support.processes import is_alive, wait_until
from unbroken.prove.command import run_prove_command
from unbroken.prove.runs import run_logged

TOY = [sys.executable, toy_training.__file__, "{folder}"]


def test_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    certificate = tmp_path / "certificate.json"
    options = ["--certificate", str(certificate), "--work", str(tmp_path / "work")]
    assert run_prove_command(["prove", *options, "--", "sh", "-c", "echo no data; exit 1"]) == 4
    assert json.loads(certificate.read_bytes())["verdict"] == "could not be verified"
    assert certificate.with_suffix(".txt").read_text() in capsys.readouterr().out
    assert run_prove_command(["prove", *options, "--", "true"]) == 2
    assert "is not empty. Next: name a new folder." in capsys.readouterr().err
    assert run_prove_command(["prove"]) == 2
    assert run_prove_command(["prove", "--at", "HUP@1", "--", "true"]) == 2
    assert "'HUP@1' is no interruption, expected SIGNAL@STEP" in capsys.readouterr().err


@pytest.mark.slow
def test_the_command_line_in_real_processes(tmp_path: Path) -> None:
    certificate = tmp_path / "certificate.json"
    options = ["--at", "TERM@9", "--controls", "rng", "--certificate", str(certificate)]
    assert run_prove_command(["prove", *options, "--", *TOY, "{folder}/export"]) == 0
    assert json.loads(certificate.read_bytes())["verdict"] == "identical"


def test_a_signal_that_comes_while_a_program_is_started_ends_that_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = list[int]()

    class Struck(subprocess.Popen[bytes]):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            started.append(self.pid)
            os.kill(os.getpid(), signal.SIGINT)  # nobody has this process in hand yet

    monkeypatch.setattr(subprocess, "Popen", Struck)
    with pytest.raises(KeyboardInterrupt):
        run_logged(["sleep", "600"], os.environ, tmp_path / "log")
    assert len(started) == 1
    assert not is_alive(started[0])


def test_a_wait_that_was_interrupted_is_not_waited_for_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A signal between two instructions of `Popen.wait` leaves the lock that the next call would wait for."""
    started: list[int] = []

    def interrupted(process: subprocess.Popen[bytes], timeout: float | None = None) -> int:
        assert not started, "waited for again"
        started.append(process.pid)
        raise KeyboardInterrupt

    monkeypatch.setattr(subprocess.Popen, "wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_logged(["sleep", "600"], os.environ, tmp_path / "log")
    assert not is_alive(started[0])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_whoever_ends_it_ends_the_program_too(number: signal.Signals, tmp_path: Path) -> None:
    """The program has a session of its own, and would train on by itself."""
    pid, places = tmp_path / "pid", {"TMPDIR": str(tmp_path / "temporary")}
    (tmp_path / "temporary").mkdir()
    program = f"echo $$ > {pid}.new; mv {pid}.new {pid}; exec sleep 600"
    command = [sys.executable, "-m", "unbroken", "prove", "--", "sh", "-c", program]
    options: dict[str, Any] = {"env": {**os.environ, **places}, "stderr": subprocess.PIPE, "text": True}
    options["preexec_fn"] = lambda: signal.signal(number, signal.SIG_DFL)  # what runs in the background ignores INT
    with subprocess.Popen(command, **options) as proving:
        wait_until(pid.exists)
        proving.send_signal(number)
        _, said = proving.communicate(timeout=300)
    assert proving.returncode == 128 + number
    assert said == f"{number.name} came before the end: the program that ran was killed, and nothing is proved.\n"
    wait_until(lambda: not is_alive(int(pid.read_text())))
    assert list((tmp_path / "temporary").iterdir()) == []
