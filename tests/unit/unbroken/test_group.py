"""Real processes over gloo: what the group says arrives, and the folded sum has the bytes of one process."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist

from tests.support import elastic_training
from tests.support.elastic_training import places
from tests.support.shards import data, leaves, mixed_leaf
from unbroken.errors import UnbrokenError
from unbroken.exact import fold as elastic
from unbroken.exact.group import SOLO, Group
from unbroken.preemption import StopFlag
from unbroken.processes.distributed import join_group

SHARDS = 8
UNEVEN = {
    1: [range(8)],
    2: [range(5), range(5, 8)],
    3: [range(1), range(1, 7), range(7, 8)],
    4: [range(3), range(3, 4), range(4, 7), range(7, 8)],
}


def converse(group: Group) -> dict[str, Any]:
    """What a rank hears in each kind of talk."""
    mine = str(group.rank).encode() * group.rank  # nothing of rank 0
    return {
        "any": [group.any_rank(group.rank == group.size - 1), group.any_rank(False)],
        "gather": [part.decode() for part in group.all_gather_bytes(mine)],
        "broadcast": group.broadcast(b"told" if group.rank == 0 else None).decode(),
        "nothing": group.broadcast(b"" if group.rank == 0 else None).decode(),
    }


def sums(group: Group) -> dict[str, Any]:
    """The exact sums, and what plain all-reduce makes of the same leaves."""
    even = data(elastic.fold(mixed_leaf, SHARDS, group))
    uneven = data(elastic.fold_split(mixed_leaf, UNEVEN[group.size], group))
    begun = group.sent
    elastic.fold(lambda _: [torch.ones(1200)], SHARDS, group)
    total = torch.zeros(50)
    for shard in elastic.owned_shards(group.rank, group.size, SHARDS):
        total += leaves(SHARDS)[shard]
    if group.size > 1:
        dist.all_reduce(total)
    return {
        "fold": [str(even), str(uneven)],
        "plain": total.numpy().tobytes().hex(),
        "sent": group.sent - begun,
    }


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[int, list[dict[str, Any]]]:
    """Number of processes → what each of them found; they are started once for all tests."""
    work = tmp_path_factory.mktemp("group")
    return {size: _told(work / str(size), size) for size in (2, 3, 4)}


def _told(work: Path, size: int) -> list[dict[str, Any]]:
    work.mkdir()

    def action(stop: StopFlag) -> None:
        torch.set_num_threads(1)
        group = join_group(stop)
        group.barrier()
        found = {**converse(group), **sums(group), "place": [group.rank, group.size, group.local_rank]}
        (work / str(group.rank)).write_text(json.dumps(found))
        group.close()

    assert elastic_training.forked(places(size), action, work / "log") == [0] * size, (work / "log").read_text()
    return [json.loads((work / str(rank)).read_text()) for rank in range(size)]


@pytest.mark.parametrize("size", [2, 3, 4])
def test_what_is_said_arrives(size: int, told: dict[int, list[dict[str, Any]]]) -> None:
    for rank, heard in enumerate(told[size]):
        assert heard["place"] == [rank, size, rank]
        assert heard["any"] == [True, False]
        assert heard["gather"] == [str(other) * other for other in range(size)]
        assert heard["broadcast"] == "told"
        assert heard["nothing"] == ""


@pytest.mark.parametrize("size", [2, 3, 4])
def test_processes_over_gloo_fold_to_the_bytes_of_one(size: int, told: dict[int, list[dict[str, Any]]]) -> None:
    expected = str(data(elastic.fold(mixed_leaf, SHARDS)))
    for heard in told[size]:
        assert heard["fold"] == [expected, expected]


@pytest.mark.parametrize("size", [2, 4])
def test_as_many_bytes_are_sent_as_by_a_ring(size: int, told: dict[int, list[dict[str, Any]]]) -> None:
    assert [heard["sent"] for heard in told[size]] == [2 * (size - 1) * 1200 * 4 // size] * size


def test_negative_control_plain_all_reduce_depends_on_the_number_of_processes(
    told: dict[int, list[dict[str, Any]]],
) -> None:
    one = sums(SOLO)
    plain = {1: one["plain"], **{size: heard[0]["plain"] for size, heard in told.items()}}
    exact = {1: one["fold"][0], **{size: heard[0]["fold"][0] for size, heard in told.items()}}
    assert len(set(plain.values())) > 1
    assert len(set(exact.values())) == 1


def test_variables_that_are_not_complete_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("MASTER_PORT", raising=False)
    with pytest.raises(UnbrokenError, match=r"MASTER_PORT is not set.*Next: start it with `torchrun`"):
        join_group(StopFlag(1.0))


@pytest.mark.parametrize(
    "step",
    [
        *({}, {"SLURM_STEP_ID": "4294967290", "SLURM_STEP_NUM_TASKS": "1"}),
        *({"SLURM_STEP_ID": ""}, {"RANK": "", "WORLD_SIZE": ""}),  # emptied, which is as good as unset
    ],
)
def test_a_shell_of_salloc_is_no_rank(step: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """`salloc -n 8` sets how many tasks were asked for; what is started in its shell is one process all the same."""
    for name in ("RANK", "WORLD_SIZE", "SLURM_STEP_ID", "SLURM_STEP_NUM_TASKS"):
        monkeypatch.delenv(name, raising=False)
    allocation = {"SLURM_JOB_ID": "5", "SLURM_NTASKS": "8", "SLURM_NPROCS": "8", "SLURM_JOB_NODELIST": "n1"}
    for name, value in {**allocation, "SLURM_PROCID": "0", "SLURM_LOCALID": "0", **step}.items():
        monkeypatch.setenv(name, value)
    assert join_group(StopFlag(1.0)) is SOLO


def test_without_any_variable_a_process_is_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "SLURM_STEP_ID"):
        monkeypatch.delenv(name, raising=False)
    assert join_group(StopFlag(1.0)) is SOLO
    assert converse(SOLO) == {"any": [True, False], "gather": [""], "broadcast": "told", "nothing": ""}
