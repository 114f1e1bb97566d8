"""The processes of one training, as their users see them; everything that is exchanged is bytes.

`unbroken.processes.distributed` finds the others. Imports no torch: tensors are only names here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


class Group(ABC):
    """Processes that call the same methods in the same order. Rank 0 speaks for all."""

    rank: int
    """Number of this process, from 0."""
    size: int
    """How many processes there are."""
    local_rank: int
    """Number of this process on its machine, from 0: the number of its GPU."""
    sent: int = 0
    """Bytes of tensors that this process has sent to others."""

    @abstractmethod
    def any_rank(self, flag: bool) -> bool:
        """Is the flag set on at least one process? The same answer everywhere."""

    @abstractmethod
    def broadcast(self, payload: bytes | None) -> bytes:
        """The payload of rank 0; the others pass None."""

    @abstractmethod
    def all_gather_bytes(self, payload: bytes) -> list[bytes]:
        """The payloads of all, in order of ranks, on every process."""

    @abstractmethod
    def barrier(self) -> None:
        """Wait until all are here."""

    @abstractmethod
    def all_to_all(self, pieces: Tensor, give: Sequence[int], take: Sequence[int]) -> Tensor:
        """Send the first `give[0]` bytes to rank 0, the next to rank 1 and so on; returns what the others sent.

        Args:
            pieces: uint8 (sum of give,).
            give: Bytes for each rank.
            take: Bytes from each rank, in order of ranks.
        """

    @abstractmethod
    def all_gather(self, piece: Tensor) -> Tensor:
        """The pieces of all, uint8 and of one size, one after the other in order of ranks."""

    @abstractmethod
    def close(self) -> None:
        """Leave the group. Nothing may be called afterwards."""


class Solo(Group):
    """The group of one process: everything is here already."""

    rank, size, local_rank = 0, 1, 0

    def any_rank(self, flag: bool) -> bool:
        return flag

    def broadcast(self, payload: bytes | None) -> bytes:
        if payload is None:
            raise ValueError("rank 0 has to broadcast something")
        return payload

    def all_gather_bytes(self, payload: bytes) -> list[bytes]:
        return [payload]

    def barrier(self) -> None:
        return

    def all_to_all(self, pieces: Tensor, _give: Sequence[int], _take: Sequence[int]) -> Tensor:
        return pieces

    def all_gather(self, piece: Tensor) -> Tensor:
        return piece

    def close(self) -> None:
        return


SOLO = Solo()
