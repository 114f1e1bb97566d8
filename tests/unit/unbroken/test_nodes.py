"""Several machines, each played by a process on this one."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support import multi_node_training
from tests.support.processes import is_alive, python_command, wait_until
from tests.support.toy_training import contents
from unbroken import environment
from unbroken.environment import first_host
from unbroken.errors import PeerError, UnbrokenError
from unbroken.exact.group import SOLO
from unbroken.launcher import channel
from unbroken.launcher.channel import AGENT, HEAD, Channel, Message
from unbroken.launcher.head import divide_ranks
from unbroken.launcher.launch import launch_ranks
from unbroken.launcher.local_ranks import LOOPBACK
from unbroken.preemption import StopFlag

MARK = "import os, sys, pathlib; pathlib.Path(sys.argv[1], os.environ['RANK']).write_text(os.environ['WORLD_SIZE'])"
SLEEP = "import os, sys, time, pathlib; pathlib.Path(sys.argv[1], os.environ['RANK']).write_text(str(os.getpid())); "
SLEEP += "time.sleep(600)"
HEAD_PROGRAM = (
    "import sys\nfrom unbroken.launcher.launch import launch_ranks\nfrom unbroken.preemption import StopFlag\n"
    "sys.exit(launch_ranks(1, StopFlag.install(), sys.argv[1:], rule=lambda cores, gpus: 1))"
)
IMPATIENT = f"from unbroken.launcher import local_ranks\nlocal_ranks._GRACE_S = 0.2\n{HEAD_PROGRAM}"


@pytest.fixture
def job(tmp_path: Path) -> dict[str, str]:
    """The environment of a job of two machines; UNBROKEN_NODE is this one's."""
    for port in range(28000, 29000):  # below those that the kernel gives to connections
        with socket.socket() as probe:
            if probe.connect_ex((LOOPBACK, port)) != 0:
                break
    return {
        **os.environ,
        "UNBROKEN_NODES": "2",
        "UNBROKEN_NODE": "0",
        "UNBROKEN_HEAD": f"localhost:{port}",
        "UNBROKEN_TOKEN": "a secret",
        "UNBROKEN_PEER_TIMEOUT_S": "300",
        "UNBROKEN_VERDICT": str(tmp_path / "verdict.json"),
    }


@contextmanager
def agent(job: dict[str, str], number: int = 1, **changed: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "unbroken", "node"]
    environment = {**job, "UNBROKEN_NODE": str(number), **changed}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def head(job: dict[str, str], command: list[str]) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(command, env=job, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def end(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Exit code, and what it said."""
    assert process.stderr
    said = process.stderr.read()
    return process.wait(300), said


def pids(folder: Path) -> list[int]:
    return [int(path.read_text() or 0) for path in folder.iterdir()]


def test_two_items_one_after_the_other_with_the_same_agents(job: dict[str, str], tmp_path: Path) -> None:
    job["UNBROKEN_NODES"] = "3"
    with agent(job, 1) as first, agent(job, 2) as second:
        for name in ("one", "two"):
            folder = tmp_path / name
            folder.mkdir()
            with head(job, python_command(HEAD_PROGRAM, *python_command(MARK, str(folder)))) as process:
                assert end(process)[0] == 0
            assert {path.name: path.read_text() for path in folder.iterdir()} == {"0": "3", "1": "3", "2": "3"}
        for process in (first, second):
            process.terminate()
            assert end(process)[0] == 0


def test_the_exit_code_of_a_further_machine(job: dict[str, str]) -> None:
    ends = "import os, sys, time\nif os.environ['RANK'] == '1': sys.exit(3)\ntime.sleep(600)"
    with agent(job), head(job, python_command(IMPATIENT, *python_command(ends))) as process:
        assert end(process)[0] == 3


def test_a_machine_that_is_lost(job: dict[str, str], tmp_path: Path) -> None:
    folder = tmp_path / "ranks"
    folder.mkdir()
    with agent(job) as lost, head(job, python_command(IMPATIENT, *python_command(SLEEP, str(folder)))) as process:
        wait_until(lambda: len(list(folder.iterdir())) == 2 and all(pids(folder)))
        lost.kill()
        code, said = end(process)
    assert code == 75
    assert "Machine 1 was lost while it trained: the agent closed the connection. Checkpoints are intact." in said
    assert (tmp_path / "verdict.json").read_text() == '{"exit":75,"signal":null,"step":null}\n'
    wait_until(lambda: not any(is_alive(pid) for pid in pids(folder)))


@pytest.mark.long
def test_a_head_that_is_killed_takes_the_ranks_of_all_machines_with_it(job: dict[str, str], tmp_path: Path) -> None:
    folder = tmp_path / "ranks"
    folder.mkdir()
    with agent(job) as helper:
        with head(job, python_command(HEAD_PROGRAM, *python_command(SLEEP, str(folder)))) as process:
            wait_until(lambda: len(list(folder.iterdir())) == 2 and all(pids(folder)))
            process.kill()
        # ten seconds, in which a rank could say something
        wait_until(lambda: not any(is_alive(pid) for pid in pids(folder)))
        assert helper.poll() is None
        helper.terminate()
        code, said = end(helper)
    assert code in (0, 75)  # it may not have seen yet that they ended
    assert "Machine 1 lost machine 0: the head closed the connection. Its ranks end." in said


@pytest.mark.parametrize("signalled", [0, 1])
def test_a_signal_to_one_machine_stops_all(signalled: int, job: dict[str, str], tmp_path: Path) -> None:
    """The ranks of a real training agree; these only wait for each other's files."""
    rank = (
        "import os, sys, time, pathlib\nfrom unbroken.preemption import StopFlag\nstop = StopFlag.install()\n"
        "here, asked = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[1], 'asked')\n"
        "(here / os.environ['RANK']).touch()\n"
        "while not (stop.is_set() or asked.exists()): time.sleep(0.01)\nasked.touch()\nstop.leave('asked')"
    )
    with agent(job) as helper, head(job, python_command(HEAD_PROGRAM, *python_command(rank, str(tmp_path)))) as process:
        wait_until(lambda: (tmp_path / "0").exists() and (tmp_path / "1").exists())
        (process, helper)[signalled].terminate()
        assert end(process)[0] == 75
        helper.terminate()
        assert end(helper)[0] == (75 if signalled else 0)


def test_a_stop_while_the_head_waits(job: dict[str, str], tmp_path: Path) -> None:
    with head(job, python_command(HEAD_PROGRAM, "true")) as process:
        assert process.stderr
        assert "Waiting for the agent of machine 1, at most 300 s." in process.stderr.readline()
        process.terminate()
        assert end(process)[0] == 75
    assert (tmp_path / "verdict.json").read_text() == '{"exit":75,"signal":"SIGTERM","step":null}\n'


def test_another_token_is_refused_on_both_sides(job: dict[str, str], tmp_path: Path) -> None:
    job["UNBROKEN_PEER_TIMEOUT_S"] = "4"
    with (
        head(job, python_command(HEAD_PROGRAM, *python_command(MARK, str(tmp_path)))) as process,
        agent(job, UNBROKEN_TOKEN="another", UNBROKEN_PEER_TIMEOUT_S="1") as stranger,
    ):
        code, said = end(process)
        assert code == 75
        assert "A connection to the head was refused: the agent has another UNBROKEN_TOKEN." in said
        assert "No agent came from machine 1 in 4 s (`python -m unbroken node`)." in said
        stranger.terminate()
        end(stranger)
    assert not (tmp_path / "1").exists()


def test_an_agent_ends_when_machine_0_is_gone(job: dict[str, str]) -> None:
    with agent(job, UNBROKEN_HEAD="nowhere.invalid:28000", UNBROKEN_PEER_TIMEOUT_S="1") as lonely:
        code, said = end(lonely)
    assert code == 1
    assert "Machine 0 (nowhere.invalid, port 28000) did not answer this agent for 1 s: " in said


@pytest.mark.long
def test_training_on_two_machines_gives_the_bytes_of_one_process(job: dict[str, str], tmp_path: Path) -> None:
    multi_node_training.train(tmp_path / "whole", tmp_path / "expected", StopFlag(), SOLO)
    command = [sys.executable, multi_node_training.__file__, str(tmp_path / "run"), str(tmp_path / "export"), "2", "0"]
    with agent(job), head(job, command) as process:
        code, said = end(process)
    assert code == 0, said
    assert contents(tmp_path / "export") == contents(tmp_path / "expected")


@pytest.mark.long
def test_a_training_that_loses_a_machine_goes_on_without_it(job: dict[str, str], tmp_path: Path) -> None:
    multi_node_training.train(tmp_path / "whole", tmp_path / "expected", StopFlag(), SOLO)
    run, target = tmp_path / "run", tmp_path / "export"
    command = [sys.executable, multi_node_training.__file__, str(run), str(target), "1", "0.05"]
    with agent(job) as lost, head(job, command) as process:
        wait_until(lambda: (run / "journal.jsonl").exists() and (run / "journal.jsonl").read_bytes().count(b"\n") > 6)
        lost.send_signal(signal.SIGKILL)
        code, said = end(process)
    assert code == 75, said
    assert (tmp_path / "verdict.json").read_text() == '{"exit":75,"signal":null,"step":null}\n'
    multi_node_training.train(run, target, StopFlag(), SOLO)
    assert contents(target) == contents(tmp_path / "expected")


@pytest.mark.parametrize(
    ("counts", "limit", "given"),
    [([2, 3], None, [(0, 2), (2, 3)]), ([2, 8, 8], 8, [(0, 2), (2, 6), (8, 0)]), ([4, 2], 4, [(0, 4), (4, 0)])],
)
def test_machine_0_has_its_ranks_first(counts: list[int], limit: int | None, given: list[tuple[int, int]]) -> None:
    shares = divide_ranks(counts, limit, "node0", 5)
    assert [(share.first, share.count) for share in shares] == given
    assert {share.total for share in shares} == {sum(count for _, count in given)}


@contextmanager
def ends(tokens: tuple[str, str] = ("x", "x")) -> Iterator[tuple[Channel, Channel]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield Channel(ours, tokens[0], HEAD, AGENT), Channel(theirs, tokens[1], AGENT, HEAD)


def received(listener: Channel) -> list[Message]:
    found: list[Message] = []
    wait_until(lambda: found.extend(listener.messages()) or found)
    return found


def test_messages_arrive_in_order_and_prove_the_token() -> None:
    with ends() as (ours, theirs):
        ours.send(a=1)
        assert theirs.messages() == []
        ours.messages()
        assert received(theirs) == [{"a": 1}]
        assert theirs.proved
        assert not ours.proved
        theirs.send(b=[2])
        theirs.send(c=3)
        assert received(ours) == [{"b": [2]}, {"c": 3}]


def test_what_was_said_before_hanging_up_is_heard() -> None:
    with ends() as (ours, theirs):
        ours.messages()
        theirs.messages()
        theirs.send(ended=7)
        theirs.close()
        assert received(ours) == [{"ended": 7}]
        with pytest.raises(PeerError, match="the agent closed the connection"):
            ours.messages()


def test_a_message_cannot_be_repeated_or_reflected() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        channel_ = Channel(ours, "x", HEAD, AGENT)
        nonce = theirs.recv(100)
        theirs.sendall(nonce)  # a mirror
        channel_.send(order="start")
        channel_.messages()
        theirs.sendall(theirs.recv(1000))
        with pytest.raises(PeerError, match="another UNBROKEN_TOKEN"):
            channel_.messages()


def test_a_line_without_an_end_and_a_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel, "_LONGEST", 100)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        listener = Channel(ours, "x", HEAD, AGENT)
        theirs.sendall(b"x" * 101)
        with pytest.raises(PeerError, match="the agent sent a line of more than 100 bytes"):
            listener.messages()
    monkeypatch.setattr(channel, "SILENCE_S", 0.01)
    with ends() as (quiet, _):
        time.sleep(0.05)
        with pytest.raises(PeerError, match="the agent said nothing for 0 s"):
            quiet.messages()


@pytest.mark.parametrize(
    ("nodelist", "first"),
    [
        *(("node03", "node03"), ("a1,b2", "a1"), ("node[03-07,12],login1", "node03"), ("r1-n[7,9]-x", "r1-n7-x")),
        *(("rack[0-1]n[00-10],x[1-2]", "rack0n00"), ("a[3],b[1-2]", "a3")),
    ],
)
def test_the_first_host_of_a_list(nodelist: str, first: str) -> None:
    assert first_host(nodelist) == first


def test_the_head_in_a_job_and_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"NODES": "2", "NODE": "1", "HEAD": "node[3-4]", "TOKEN": "x"}.items():
        monkeypatch.setenv(f"UNBROKEN_{name}", value)
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    assert environment.read_nodes() == environment.Nodes(2, 1, "node3", 20127, "x")
    monkeypatch.delenv("SLURM_JOB_ID")
    with pytest.raises(UnbrokenError, match="expected HOST:PORT since there is no SLURM_JOB_ID"):
        environment.read_nodes()
    monkeypatch.setenv("UNBROKEN_HEAD", "localhost:5")
    with pytest.raises(UnbrokenError, match="UNBROKEN_NODE is 1, but training starts on machine 0"):
        launch_ranks(1, StopFlag(), ["true"])
    monkeypatch.delenv("UNBROKEN_TOKEN")
    with pytest.raises(UnbrokenError, match="UNBROKEN_TOKEN is not set, but UNBROKEN_NODES is '2'"):
        environment.read_nodes()
    monkeypatch.setenv("UNBROKEN_NODES", "1")
    assert environment.read_nodes() is None
