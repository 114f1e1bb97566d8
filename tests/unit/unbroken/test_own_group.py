"""A process group that the program or its library has made: a run meets the same processes beside it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.testing._internal.distributed.fake_pg  # a backend that exchanges nothing: NCCL without GPUs

from tests.support import elastic_training, toy_training
from tests.support.elastic_training import places
from unbroken.errors import UnbrokenError
from unbroken.exact.group import SOLO
from unbroken.launcher.local_ranks import LOOPBACK, find_free_port
from unbroken.preemption import StopFlag
from unbroken.processes.distributed import DistributedGroup, join_group

Talk = Callable[[StopFlag], dict[str, Any]]


def begin(backend: str) -> None:
    """What a program with DDP does at its start."""
    rank, size, port = (int(os.environ[name]) for name in ("RANK", "WORLD_SIZE", "MASTER_PORT"))
    store = dist.TCPStore(LOOPBACK, port, size, is_master=rank == 0)
    dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=timedelta(seconds=60))


def everyone(work: Path, size: int, talk: Talk, **variables: str) -> list[dict[str, Any]]:
    """What each of the processes found."""

    def action(stop: StopFlag) -> None:
        rank = os.environ["RANK"]
        (work / rank).write_text(json.dumps(talk(stop)))

    assert elastic_training.forked(places(size, **variables), action, work / "log") == [0] * size, said(work)
    return [json.loads((work / str(rank)).read_text()) for rank in range(size)]


def said(work: Path) -> str:
    return (work / "log").read_text()


@pytest.mark.parametrize("backend", ["gloo", "fake"])
def test_the_group_is_taken_over_whatever_its_backend_and_left_open(backend: str, tmp_path: Path) -> None:
    def talk(stop: StopFlag) -> dict[str, Any]:
        begin(backend)
        group = join_group(stop)
        heard = [part.decode() for part in group.all_gather_bytes(str(group.rank).encode())]
        agreed = group.any_rank(group.rank == 1)
        group.close()
        return {"place": [group.rank, group.size, group.local_rank], "heard": heard, "agreed": agreed, **after_close()}

    def after_close() -> dict[str, Any]:
        mine = torch.ones(1)
        dist.all_reduce(mine)
        return {"open": dist.is_initialized(), "sum": mine.item()}

    for rank, found in enumerate(everyone(tmp_path, 3, talk)):
        assert found["place"] == [rank, 3, rank]
        assert found["heard"] == ["0", "1", "2"]
        assert found["agreed"]
        assert (found["open"], found["sum"]) == (True, 3.0 if backend == "gloo" else 1.0)


def test_it_may_be_closed_before_ours(tmp_path: Path) -> None:
    def talk(stop: StopFlag) -> dict[str, Any]:
        begin("gloo")
        group = join_group(stop)
        dist.destroy_process_group()
        group.close()
        return {}

    everyone(tmp_path, 2, talk)


@pytest.mark.long
def test_a_run_in_a_group_of_the_program_ends_in_the_bytes_of_one_process(tmp_path: Path) -> None:
    elastic_training.train(tmp_path / "alone" / "run", tmp_path / "alone" / "export", StopFlag())

    def talk(stop: StopFlag) -> dict[str, Any]:
        begin("gloo")
        elastic_training.train(tmp_path / "run", tmp_path / "export", stop)
        return {}

    everyone(tmp_path, 2, talk)
    assert toy_training.contents(tmp_path / "export") == toy_training.contents(tmp_path / "alone" / "export")


def test_a_process_that_does_not_come_is_given_up_after_our_time_and_not_after_torchs(tmp_path: Path) -> None:
    def talk(stop: StopFlag) -> dict[str, Any]:
        begin("gloo")
        group = join_group(stop)
        if group.rank == 1:
            dist.barrier()  # in the program's own group: waits for rank 0, which waits for us
            return {}
        with pytest.raises(UnbrokenError, match=r"did not answer in 1 s"):
            group.barrier()
        dist.barrier()
        return {}

    everyone(tmp_path, 2, talk, UNBROKEN_PEER_TIMEOUT_S="1")


def test_a_signal_before_stops_all(tmp_path: Path) -> None:
    def action(stop: StopFlag) -> None:
        begin("gloo")
        if dist.get_rank() == 1:
            stop.set("SIGTERM")
        join_group(stop)

    assert elastic_training.forked(places(2), action, tmp_path / "log") == [75, 75]


@pytest.fixture
def lonely(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process group of one, as accelerate or Lightning make it on a single device."""
    variables = {"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": LOOPBACK, "MASTER_PORT": str(find_free_port(LOOPBACK))}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


@pytest.mark.usefixtures("lonely")
def test_a_group_of_one_is_a_process_alone() -> None:
    begin("gloo")
    try:
        assert join_group(StopFlag(1.0)) is SOLO
    finally:
        dist.destroy_process_group()


def test_mpi_is_refused_with_a_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    monkeypatch.setattr(dist, "get_world_size", lambda: 2)
    monkeypatch.setattr(dist, "get_backend", lambda: "mpi")
    with pytest.raises(UnbrokenError, match=r"backend mpi, expected gloo or nccl.*Next: start it with `torchrun`"):
        join_group(StopFlag(1.0))


def test_two_machines_count_their_own_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    group = object.__new__(DistributedGroup)
    group.rank = 3
    monkeypatch.setattr(group, "all_gather_bytes", lambda _: [b"a", b"b", b"a", b"b"])
    assert group._find_local_rank() == 1
