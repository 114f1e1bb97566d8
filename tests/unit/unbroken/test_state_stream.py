"""The state of rank 0 reaches the others in pieces, checked; who fails midway lets nobody wait."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch

from tests.support.thread_group import SwapTable, ThreadGroup
from unbroken.checkpoint.state import capture_state
from unbroken.errors import CheckpointError, UnbrokenError
from unbroken.processes import state_stream, sync
from unbroken.processes.sync import broadcast_state


def build(rank: int) -> dict[str, Any]:
    """Ranks begin with other values, the same objects."""
    value = float(rank)
    model = torch.nn.Sequential(torch.nn.Linear(5, 7), torch.nn.BatchNorm1d(7)).to(torch.bfloat16)
    box = {
        "empty": torch.zeros(0, 3), "scalar": torch.tensor(value), "odd": torch.full((3, 11), value).t(),
        "array": np.full(9, value), "bytes": torch.full((13,), rank, dtype=torch.uint8), "last": torch.zeros(0),
    }  # fmt: skip
    return {"model": model, "box": box, "cursor": {"at": rank}}


def attempt_on_threads(size: int, action: Callable[[ThreadGroup], Any], kind: type = ThreadGroup) -> list[Any]:
    """The result or the exception of each rank. Nobody is told when another one fails."""
    table = SwapTable(size)

    def attempt(rank: int) -> Any:
        try:
            return action(kind(table, rank))
        except Exception as error:
            return error

    with ThreadPoolExecutor(size) as pool:
        return list(pool.map(attempt, range(size)))


def digest(state: dict[str, Any]) -> dict[str, str]:
    return {name: found for name, found in capture_state(state).digests().items() if not name.startswith("rng")}


@pytest.mark.parametrize("chunk", [1, 7, 26, 64, 1 << 22])
def test_all_get_the_state_of_rank_0_however_it_is_cut(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state_stream, "CHUNK", chunk)
    monkeypatch.setattr(sync, "restore_state", lambda snapshot, state: received.append(snapshot))
    received: list[Any] = []
    states = [build(rank) for rank in range(3)]
    assert attempt_on_threads(3, lambda group: broadcast_state(group, group.rank or 5, states[group.rank])) == [5] * 3
    sent = capture_state(states[0])
    for snapshot in received:
        fresh = type(snapshot)(snapshot.tensors, snapshot.tree)
        assert fresh.digests() == snapshot.proven
        assert {n: d for n, d in fresh.digests().items() if not n.startswith("rng")} == digest(states[0])
        assert snapshot.tree == sent.tree
    assert len(received) == 2


def test_the_state_is_put_into_the_objects_of_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state_stream, "CHUNK", 64)
    states = [build(rank) for rank in range(2)]
    # Both threads have the global generators of one process, which rank 1 would put back beneath rank 0.
    assert attempt_on_threads(2, lambda group: broadcast_state(group, 3, states[group.rank])) == [3, 3]
    assert digest(states[1]) == digest(states[0])
    assert states[1]["cursor"] == {"at": 0}


def sentences(results: Sequence[Any]) -> set[str]:
    assert all(isinstance(result, UnbrokenError) for result in results), results
    return {str(result) for result in results}


def test_a_rank_with_other_objects_ends_all_with_one_sentence() -> None:
    states = [build(0), {**build(1), "more": {}}, {**build(2), "else": {}}]
    (said,) = sentences(attempt_on_threads(3, lambda group: broadcast_state(group, 1, states[group.rank])))
    assert said.startswith("Rank 1 could not take over the state of rank 0. The checkpoint does not fit")
    assert "lacks more, which this run needs" in said


class NoisyGroup(ThreadGroup):
    """The network flips a bit of the second message on its way to rank 1."""

    heard = 0

    def broadcast(self, payload: bytes | None) -> bytes:
        told = bytearray(super().broadcast(payload))
        self.heard += 1
        if self.rank == 1 and self.heard == 2:
            told[-1] ^= 1
        return bytes(told)


def test_a_state_that_is_damaged_on_its_way_ends_all_with_one_sentence() -> None:
    states = [build(rank) for rank in range(2)]
    before = digest(states[1])
    results = attempt_on_threads(2, lambda group: broadcast_state(group, 1, states[group.rank]), NoisyGroup)
    (said,) = sentences(results)
    assert "did not arrive as it was sent: tensor " in said
    assert digest(states[1]) == before


@pytest.mark.parametrize("error", [CheckpointError("The state is odd."), RuntimeError("no idea"), MemoryError()])
def test_rank_0_that_fails_midway_lets_nobody_wait(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state_stream, "CHUNK", 64)
    real, calls = state_stream.tensor_bytes, []

    def fail_later(tensor: torch.Tensor) -> memoryview:
        calls.append(tensor)
        if len(calls) == 4:
            raise error
        return real(tensor)

    def act(group: ThreadGroup) -> int:
        return broadcast_state(group, 1, states[group.rank])

    states = [build(rank) for rank in range(3)]
    monkeypatch.setattr(state_stream, "_fill_tensors", lambda specs, messages: (list(messages), {}))
    monkeypatch.setattr(state_stream, "tensor_bytes", fail_later)
    results = attempt_on_threads(3, act)
    assert results[0] is error
    expected = "The state is odd." if isinstance(error, CheckpointError) else f"Rank 0 failed: {type(error).__name__}"
    assert all(isinstance(result, UnbrokenError) and str(result).startswith(expected) for result in results[1:])


@pytest.mark.parametrize("kind", [MemoryError, RuntimeError])
def test_another_rank_without_memory_lets_nobody_wait(kind: type, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state_stream, "CHUNK", 64)
    real = state_stream._fill_tensors

    def fail(specs: Any, messages: Any) -> Any:
        real(dict(list(specs.items())[:2]), messages)
        raise kind("no memory for 9 GB")

    states = [build(rank) for rank in range(2)]
    monkeypatch.setattr(state_stream, "_fill_tensors", fail)
    first, second = attempt_on_threads(2, lambda group: broadcast_state(group, 1, states[group.rank]))
    assert str(first) == f"Rank 1 failed: {kind.__name__}: no memory for 9 GB"
    assert isinstance(second, kind)
