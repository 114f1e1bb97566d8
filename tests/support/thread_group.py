"""A group whose processes are threads of this one: exchanges are copies, counted as the real group counts them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch
from torch import Tensor

from unbroken.exact.group import Group

T = TypeVar("T")
TIMEOUT_S = 60.0


class SwapTable:
    """Where the threads lay down what they give, and pick up what they take."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._barrier = threading.Barrier(size)
        self._places: list[object] = [None] * size

    def swap(self, rank: int, ours: T) -> list[T]:
        """Everybody's, in order of ranks."""
        self._places[rank] = ours
        self._barrier.wait(TIMEOUT_S)
        everyone = list(self._places)
        self._barrier.wait(TIMEOUT_S)  # nobody lays down the next before all have seen this
        return everyone  # type: ignore[return-value]

    def leave(self) -> None:
        """One failed: nobody shall wait for it."""
        self._barrier.abort()


class ThreadGroup(Group):
    """One thread's place in the group."""

    def __init__(self, table: SwapTable, rank: int) -> None:
        self._table = table
        self.rank = self.local_rank = rank
        self.size = table.size

    def any_rank(self, flag: bool) -> bool:
        return any(self._table.swap(self.rank, flag))

    def broadcast(self, payload: bytes | None) -> bytes:
        told = self._table.swap(self.rank, payload)[0]
        assert told is not None
        return told

    def all_gather_bytes(self, payload: bytes) -> list[bytes]:
        return self._table.swap(self.rank, payload)

    def barrier(self) -> None:
        self.any_rank(False)

    def all_to_all(self, pieces: Tensor, give: Sequence[int], take: Sequence[int]) -> Tensor:
        assert pieces.dtype == torch.uint8
        assert len(pieces) == sum(give)
        given = self._table.swap(self.rank, pieces.split(list(give)))
        taken = [theirs[self.rank] for theirs in given]
        assert [len(part) for part in taken] == list(take)
        self.sent += sum(give) - give[self.rank]
        return torch.cat(taken)

    def all_gather(self, piece: Tensor) -> Tensor:
        everyone = self._table.swap(self.rank, piece)
        assert {len(part) for part in everyone} == {len(piece)}
        self.sent += len(piece) * (self.size - 1)
        return torch.cat(everyone)

    def close(self) -> None:
        return


def run_on_threads(size: int, action: Callable[[Group], T]) -> list[T]:
    """Do the same on every rank; returns the results in order of ranks."""
    table = SwapTable(size)

    def one(rank: int) -> T:
        try:
            return action(ThreadGroup(table, rank))
        except BaseException:
            table.leave()
            raise

    with ThreadPoolExecutor(size) as pool:
        return list(pool.map(one, range(size)))
