"""The processes of one training, over torch.distributed. `join_group` finds the others, or takes over their group.

group = join_group(stop)
total = fold(leaf, shards, group)
"""

from __future__ import annotations

import atexit
import os
import socket
import struct
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor
from torch._C._distributed_c10d import PrefixStore, Store, TCPStore

from unbroken import environment
from unbroken.environment import RankInfo
from unbroken.errors import PeerError, UnbrokenError
from unbroken.exact.group import SOLO, Group
from unbroken.preemption import StopFlag
from unbroken.processes.gathering import gather_tensors

_SIZE = struct.Struct("<q")
_NOTHING = -1
CPU = "cpu"
"""Given everywhere: the program may have made a GPU torch's default device."""


class DistributedGroup(Group):
    """torch.distributed: gloo for everything on the CPU, NCCL for CUDA tensors where each process has a GPU.

    A process that is gone, or silent for UNBROKEN_PEER_TIMEOUT_S, is a PeerError in the method that waits for it.
    """

    def __init__(self, info: RankInfo | None, nccl: bool = False) -> None:
        """Meet the others; without `info`, in a group beside the one that the program has made, which stays its own.

        Raises:
            PeerError: They did not come in time.
        """
        self._nccl = nccl
        self._is_closed = self._is_broken = False
        self._timeout = timedelta(seconds=environment.read_peer_timeout_s())
        backend = "cpu:gloo,cuda:nccl" if nccl else "gloo"
        self._channel: dist.ProcessGroup | None = None
        """None: torch's default group, which is ours."""
        if info:
            self.rank, self.size, self.local_rank = info.rank, info.size, info.local_rank
            with self._waiting("to meet the others"):
                dist.init_process_group(
                    backend,
                    store=self._store(info),
                    rank=info.rank,
                    world_size=info.size,
                    timeout=self._timeout,
                )
        else:
            self.rank, self.size = dist.get_rank(), dist.get_world_size()
            with self._waiting("to meet the others"):
                self._channel = dist.new_group(backend=backend, timeout=self._timeout)
            self.local_rank = self._find_local_rank()
        # The connections' own threads make an interpreter abort now and then that shuts down without closing them.
        self._process = os.getpid()
        atexit.register(self._close_at_exit)

    def any_rank(self, flag: bool) -> bool:
        """One number through gloo, even where the training runs on GPUs: no GPU waits for it."""
        answer = torch.tensor([int(flag)], dtype=torch.int32, device=CPU)
        with self._waiting("to agree on what comes next"):
            dist.all_reduce(answer, dist.ReduceOp.MAX, self._channel)
        return bool(answer.item())

    def broadcast(self, payload: bytes | None) -> bytes:
        """The size first, then the bytes."""
        size = torch.tensor([_NOTHING if payload is None else len(payload)], device=CPU)
        with self._waiting("for what rank 0 has to say"):
            dist.broadcast(size, 0, self._channel)
            if size.item() == _NOTHING:
                raise ValueError("rank 0 has to broadcast something")
            content = _bytes(payload) if payload else torch.empty(int(size.item()), dtype=torch.uint8, device=CPU)
            if len(content):
                dist.broadcast(content, 0, self._channel)
        return content.numpy().tobytes()

    def all_gather_bytes(self, payload: bytes) -> list[bytes]:
        """The sizes first, then the bytes, padded to the longest."""
        sizes = [_SIZE.unpack(part)[0] for part in self._all_gather_equal(_SIZE.pack(len(payload)))]
        longest = max(sizes)
        padded = self._all_gather_equal(payload.ljust(longest, b"\0")) if longest else [b""] * self.size
        return [part[:size] for part, size in zip(padded, sizes, strict=True)]

    def barrier(self) -> None:
        """Exchange one number: that goes through gloo even where there is NCCL."""
        self.any_rank(False)

    def all_to_all(self, pieces: Tensor, give: Sequence[int], take: Sequence[int]) -> Tensor:
        """Through NCCL for CUDA tensors; through the host where several processes share a GPU."""
        sent = self._transportable(pieces)
        received = torch.empty(sum(take), dtype=torch.uint8, device=sent.device)
        with self._waiting("for the partial sums of the others"):
            dist.all_to_all_single(received, sent, list(take), list(give), self._channel)
        self.sent += sum(give) - give[self.rank]
        return received.to(pieces.device)

    def all_gather(self, piece: Tensor) -> Tensor:
        """As `all_to_all` does."""
        sent = self._transportable(piece)
        received = torch.empty(len(piece) * self.size, dtype=torch.uint8, device=sent.device)
        with self._waiting("for the sums of the others"):
            gather_tensors(received, sent, self._channel)
        self.sent += len(piece) * (self.size - 1)
        return received.to(piece.device)

    def close(self) -> None:
        """Close the connections; a second call does nothing. It is called at the exit of the process at the latest."""
        if not self._is_closed:
            self._is_closed = True
            atexit.unregister(self._close_at_exit)
            if dist.is_initialized():  # the program may have closed it by itself
                dist.destroy_process_group(self._channel)

    def _close_at_exit(self) -> None:
        # NCCL may wait for the others, who are gone, or will never come after an error here.
        # A fork has the connections without the threads that would close them.
        if self._process == os.getpid() and not (self._nccl and (self._is_broken or hasattr(sys, "last_value"))):
            self.close()

    def _store(self, info: RankInfo) -> Store:
        # torchrun's agent keeps a store for its workers; a worker must not open another one at its address.
        store = TCPStore(
            info.address,
            info.port,
            is_master=info.rank == 0 and not info.has_store,
            timeout=self._timeout,
            wait_for_workers=False,
        )
        return PrefixStore(f"unbroken/{info.attempt}", store)

    def _find_local_rank(self) -> int:
        machines = self.all_gather_bytes(socket.gethostname().encode())
        return machines[: self.rank].count(machines[self.rank])

    def _transportable(self, tensor: Tensor) -> Tensor:
        return tensor if self._nccl or not tensor.is_cuda else tensor.cpu()

    def _all_gather_equal(self, payload: bytes) -> list[bytes]:
        everything = torch.empty(len(payload) * self.size, dtype=torch.uint8, device=CPU)
        with self._waiting("for what the others have to say"):
            gather_tensors(everything, _bytes(payload), self._channel)
        return [part.numpy().tobytes() for part in everything.chunk(self.size)]

    @contextmanager
    def _waiting(self, reason: str) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:
            self._is_broken = True
            first = str(error).splitlines()[0]
            raise PeerError(
                f"Rank {self.rank} of {self.size} waited {reason}, but another process is gone or did not answer in "
                f"{self._timeout.total_seconds():.0f} s ({first}). Checkpoints are intact. Next: look at what the "
                f"other ranks said first, then run the same command again."
            ) from None


def join_group(stop: StopFlag, nccl: bool = False) -> Group:
    """Find the other processes of this training, from the variables of torchrun, our launcher or srun.

    Where the program has called `init_process_group` already (or a library has), the processes of that group are
    meant, whatever its backend: what a run exchanges goes through connections of its own beside it, with their own
    time limit, and the program's group is left open. A stop signal that came before is kept until all have met; then
    all leave together if one of them got it.

    Args:
        stop: The process's flag.
        nccl: Exchange CUDA tensors without the host; each process of a machine needs a GPU of its own.

    Raises:
        PeerError: The others did not come in time.
        Preempted: One of them was asked to stop.
        UnbrokenError: The program's own group is over MPI, which has no place where others could meet.
    """
    group = _take_over(nccl) if dist.is_available() and dist.is_initialized() else _meet(nccl)
    stop.check(group)
    return group


def _meet(nccl: bool) -> Group:
    info = environment.read_rank_info()
    return DistributedGroup(info, nccl) if info else SOLO


def _take_over(nccl: bool) -> Group:
    if dist.get_world_size() == 1:
        return SOLO
    if dist.get_backend() == "mpi":
        raise UnbrokenError(
            "torch.distributed was started with the backend mpi, expected gloo or nccl: beside MPI no other connection "
            "can be made. Next: start it with `torchrun` and init_process_group('cpu:gloo,cuda:nccl')."
        )
    return DistributedGroup(None, nccl)


def _bytes(payload: bytes) -> Tensor:
    return torch.frombuffer(bytearray(payload), dtype=torch.uint8)
