"""MLflow slow, locked, broken or gone: training is never delayed, and nothing is lost."""

from __future__ import annotations

import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from latentwire.tracking import mirror as mirrors
from latentwire.tracking.mirror import MlflowMirror
from latentwire.tracking.store import locate_store
from tests.support.mlflow_database import ITEM, Database, points_of, records


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mirrors, "PAUSE_AT_THE_END_S", 0.1)


@pytest.fixture
def closed_port() -> int:
    """A loopback port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port that accepts connections and never answers."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(16)
        yield int(server.getsockname()[1])


def play(root: Path, timeout: float = 30.0, verdict: str = "finished") -> tuple[list[str], float, MlflowMirror]:
    """A run with a mirror; what it said and the seconds that it took in the training's thread."""
    said: list[str] = []
    mirror = MlflowMirror(ITEM, experiment="toy", root=root, system_metrics=False, timeout=timeout, report=said.append)
    began = time.monotonic()
    mirror.started(0)
    mirror.committed(20, records(1, 20))
    assert time.monotonic() - began < 0.5
    mirror.ended(verdict)
    return said, time.monotonic() - began, mirror


def finish(mirror: MlflowMirror) -> None:
    mirror._sender.join(60)
    assert not mirror._sender.is_alive()


def test_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, closed_port: int) -> None:
    uri = f"http://127.0.0.1:{closed_port}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    said, seconds, _ = play(tmp_path)
    assert seconds < 15
    first, last = said  # one sentence for the kind of error, however often it was tried, and one at the end
    assert uri in first
    assert "22 points and the status FINISHED are unsent" in last
    assert "`python -m latentwire.stages.aggregate`" in last


def test_gone_when_preempted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, closed_port: int) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{closed_port}")
    said, seconds, _ = play(tmp_path, verdict="preempted")
    assert seconds < 15
    assert "SCHEDULED are unsent" in said[-1]
    assert "the next start of this run sends them" in said[-1]


def test_a_server_that_never_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, silent_port: int) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{silent_port}")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    said, seconds, _ = play(tmp_path, timeout=0.5)
    assert seconds < 5
    assert "22 points" in said[-1]


@pytest.mark.long
def test_locked_and_then_sent_by_the_next_start_while_the_first_is_still_sending(database: Database) -> None:
    """Two senders of one run at once: the first's request hangs in the lock when the next start begins."""
    with closing(sqlite3.connect(database.path, isolation_level=None)) as blocker:
        blocker.execute("begin exclusive")
        said, seconds, first = play(database.root, timeout=0.5)
        assert seconds < 5
        assert "22 points" in said[-1]
        blocker.execute("rollback")
    said, _, second = play(database.root)
    assert said == []
    finish(first)
    finish(second)
    assert database.points() == points_of(records(1, 20))
    assert database.runs() == [(ITEM.name, "FINISHED")]


def test_locked_for_a_moment_is_not_worth_a_word(database: Database) -> None:
    with closing(sqlite3.connect(database.path, isolation_level=None, check_same_thread=False)) as blocker:
        blocker.execute("begin exclusive")
        said: list[str] = []
        mirror = MlflowMirror(ITEM, experiment="toy", root=database.root, system_metrics=False, report=said.append)
        mirror.started(0)
        mirror.committed(20, records(1, 20))
        time.sleep(0.5)
        blocker.execute("rollback")
    mirror.ended("finished")
    assert said == []
    assert database.points() == points_of(records(1, 20))


def test_it_comes_back_while_training_goes_on(tmp_path: Path, template: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "mounted"
    folder.write_text("not there yet")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
    said: list[str] = []
    mirror = MlflowMirror(ITEM, experiment="toy", root=tmp_path, system_metrics=False, report=said.append)
    mirror.started(0)
    mirror.committed(5, records(1, 5))
    while not said:
        time.sleep(0.01)
    folder.unlink()
    folder.mkdir()
    shutil.copy(template, folder / "mlflow.db")
    mirror.committed(10, records(6, 10))
    mirror.ended("finished")
    assert len(said) == 1
    assert Database(folder).points() == points_of(records(1, 10))
    assert Database(folder).runs() == [(ITEM.name, "FINISHED")]


def test_a_request_that_arrives_twice_leaves_one_point(database: Database) -> None:
    """A killed sender's last request may be carried out after its successor has asked what is there."""
    run = ITEM.open(locate_store(database.root), "toy", print)
    successor = ITEM.open(locate_store(database.root), "toy", print)
    assert run.send(records(1, 30)) == 33
    assert successor.send(records(1, 30)) == 33  # it does not know of the points, MLflow does
    assert database.points() == points_of(records(1, 30))


def test_a_run_created_twice_is_one_again(database: Database) -> None:
    """Two processes at a server, which has no lock, or one request that was sent twice."""
    first = ITEM.open(locate_store(database.root), "toy", print)
    first.send(records(1, 3))
    client = first.experiment.client
    client.create_run(first.experiment.id, tags={"identity": ITEM.identity}, run_name=ITEM.name)
    assert len(database.runs()) == 2
    again = ITEM.open(locate_store(database.root), "toy", print)
    assert again.run_id == first.run_id
    assert again.unsent(records(1, 3)) == 0
    assert len(database.runs()) == 1


@pytest.mark.long
def test_a_process_without_mlflow_ends_in_time_and_without_tracebacks(tmp_path: Path, closed_port: int) -> None:
    code = (
        "import logging, pathlib; from tests.support.mlflow_database import ITEM, records; logging.basicConfig(); "
        "from latentwire.tracking.mirror import MlflowMirror; "
        "mirror = MlflowMirror(ITEM, experiment='toy', root=pathlib.Path()); mirror.started(0); "
        "mirror.committed(20, records(1, 20)); mirror.ended('finished')"
    )
    path = os.pathsep.join(entry for entry in sys.path if entry)
    uri = f"http://127.0.0.1:{closed_port}"
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env={**os.environ, "PYTHONPATH": path, "MLFLOW_TRACKING_URI": uri},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=40,
    )
    first, last = ended.stderr.splitlines()
    assert ended.returncode == 0
    assert uri in first
    assert "22 points and the status FINISHED are unsent" in last
    assert ended.stdout == ""


def test_ended_before_started(tmp_path: Path) -> None:
    MlflowMirror(ITEM, experiment="toy", root=tmp_path).ended("failed")
    assert list(tmp_path.iterdir()) == []
