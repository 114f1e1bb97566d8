"""Several processes on one machine, real ones."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.support import multi_node_training
from tests.support.processes import is_alive, python_command, wait_until
from tests.support.toy_training import contents
from unbroken.exact.group import SOLO
from unbroken.launcher import local_ranks as ranks
from unbroken.launcher.launch import launch_ranks
from unbroken.launcher.local_ranks import LOOPBACK, RankRange, find_free_port
from unbroken.preemption import StopFlag

ENDS = "import os, sys; sys.exit(int(sys.argv[1 + int(os.environ['RANK'])]))"


@pytest.mark.parametrize(
    ("codes", "expected"), [("0 0", 0), ("75 75", 75), ("0 75", 75), ("75 3 0", 3), ("0 1", 1), ("2", 2)]
)
def test_the_exit_code_of_all(codes: str, expected: int) -> None:
    asked = codes.split()
    assert launch_ranks(len(asked), StopFlag(), python_command(ENDS, *asked)) == expected


def test_ranks_that_die_of_the_signal_were_stopped() -> None:
    stop = StopFlag()
    threading.Timer(0.5, stop.set, ["SIGTERM"]).start()
    said: list[str] = []
    deaf = "import signal, time\nsignal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])\ntime.sleep(600)"
    assert (launch_ranks(2, stop, python_command(deaf), said.append), said) == (75, [])


def test_a_rank_that_is_killed_ends_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranks, "_GRACE_S", 0.3)
    program = "import os, time\nif os.environ['RANK'] == '1': os.kill(os.getpid(), 9)\ntime.sleep(600)"
    said: list[str] = []
    assert launch_ranks(3, StopFlag(), python_command(program), said.append) == 1
    assert said[0].startswith("Rank 1 was killed by SIGKILL; checkpoints are intact. Next: look for who sent it")


def test_a_rank_that_fails_leaves_the_others_time_to_end_themselves(tmp_path: Path) -> None:
    program = (
        "import os, sys, time, pathlib\nif os.environ['RANK'] == '0': sys.exit(2)\ntime.sleep(0.5)\n"
        "pathlib.Path(sys.argv[1]).touch()\nsys.exit(1)"
    )
    assert launch_ranks(2, StopFlag(), python_command(program, str(tmp_path / "ended"))) == 2
    assert (tmp_path / "ended").exists()


def test_what_a_rank_finds_in_its_environment(tmp_path: Path) -> None:
    names = "RANK LOCAL_RANK WORLD_SIZE MASTER_ADDR OMP_NUM_THREADS GLOO_SOCKET_IFNAME"
    program = (
        "import os, sys, pathlib\nvalues = [os.environ[name] for name in sys.argv[2].split()]\n"
        "pathlib.Path(sys.argv[1], values[0]).write_text(' '.join(values))"
    )
    assert launch_ranks(2, StopFlag(), python_command(program, str(tmp_path), names)) == 0
    assert (tmp_path / "0").read_text() == "0 0 2 127.0.0.1 1 lo"
    assert (tmp_path / "1").read_text() == "1 1 2 127.0.0.1 1 lo"


def test_the_ranks_of_a_further_machine() -> None:
    variables = RankRange(first=2, count=2, total=4, address="node7", port=99).variables(1)
    assert variables == {
        "RANK": "3",
        "LOCAL_RANK": "1",
        "WORLD_SIZE": "4",
        "MASTER_ADDR": "node7",
        "MASTER_PORT": "99",
        "OMP_NUM_THREADS": "1",
    }


def test_a_free_port_is_free() -> None:
    with socket.create_server((LOOPBACK, find_free_port(LOOPBACK))):
        pass


def test_ranks_do_not_outlive_a_launcher_that_is_killed(tmp_path: Path) -> None:
    rank = "import os, sys, time, pathlib; pathlib.Path(sys.argv[1], str(os.getpid())).touch(); time.sleep(600)"
    launcher = (
        "import sys\nfrom unbroken.launcher.launch import launch_ranks\nfrom unbroken.preemption import StopFlag\n"
        "launch_ranks(2, StopFlag(), sys.argv[1:])"
    )
    with subprocess.Popen(python_command(launcher, *python_command(rank, str(tmp_path)))) as process:
        wait_until(lambda: len(list(tmp_path.iterdir())) == 2)
        process.kill()
    wait_until(lambda: not any(is_alive(int(path.name)) for path in tmp_path.iterdir()))


def test_a_stop_that_comes_while_the_ranks_still_import() -> None:
    program = "import time\ntime.sleep(0.7)\nfrom unbroken.preemption import StopFlag\n"
    program += "stop = StopFlag.install()\ntime.sleep(0.2)\nstop.check()\nraise SystemExit(9)"
    stop = StopFlag()
    stop.set("SIGTERM")
    assert launch_ranks(2, stop, python_command(program)) == 75


def test_a_stop_that_comes_after_the_start() -> None:
    program = "import time\nfrom unbroken.preemption import StopFlag\nstop = StopFlag.install()\n"
    program += "while True:\n    time.sleep(0.01)\n    stop.check()"
    stop = StopFlag()
    timer = threading.Timer(0.5, stop.set, ["SIGTERM"])
    timer.start()
    assert launch_ranks(2, stop, python_command(program)) == 75
    timer.join()


@pytest.mark.long
def test_all_leave_after_one_step_and_one_process_goes_on(tmp_path: Path) -> None:
    multi_node_training.train(tmp_path / "whole", tmp_path / "expected", StopFlag(), SOLO)
    run, target = tmp_path / "run", tmp_path / "export"
    command = [sys.executable, multi_node_training.__file__, str(run), str(target), "2", "0.05"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        wait_until(lambda: (run / "journal.jsonl").exists() and (run / "journal.jsonl").read_bytes().count(b"\n") > 2)
        os.kill(process.pid, signal.SIGTERM)
        assert process.stdout
        said = process.stdout.read().split("\n")
    assert process.returncode == 75
    steps = {line.partition("after step ")[2].partition(";")[0] for line in said if line}
    assert len(steps) == 1, said
    assert len([line for line in said if line.startswith("rank")]) == 2
    assert not target.exists()
    multi_node_training.train(run, target, StopFlag(), SOLO)
    assert contents(target) == contents(tmp_path / "expected")
