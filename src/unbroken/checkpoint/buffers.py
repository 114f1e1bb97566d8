"""Memory that a state is copied into, kept from save to save."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch

from unbroken.checkpoint.state import Snapshot
from unbroken.checkpoint.tensorfile import tensor_bytes, tensor_spec


class BufferMemoryError(Exception):
    """The memory of a buffer was refused: by the allocator, or when it was to be page-locked."""


class Buffer:
    """Room for one snapshot. Filling it again allocates nothing as long as names, types and shapes stay."""

    def __init__(self) -> None:
        self._tensors: dict[str, torch.Tensor] = {}
        self._streams: dict[torch.device, torch.cuda.Stream] = {}

    def prepare(self, like: Mapping[str, torch.Tensor], wanted: Callable[[], bool] = lambda: True) -> None:
        """Allocate for tensors like these and touch every page: the first fill is then a plain copy too.

        This is given up, between two tensors, as soon as it is no longer `wanted`.

        Raises:
            BufferMemoryError: There is no memory for it.
        """
        for name, source in like.items():
            if not wanted():
                return
            # Not `zero_()`: a second thread that enters a parallel region keeps an OpenMP team of its own. The teams
            # then have more threads than there are cores, so libgomp lets none spin: the loop's sleep in every region.
            np.frombuffer(tensor_bytes(self._allocated(name, source)), dtype=np.uint8).fill(0)

    def fill(self, live: Snapshot) -> Snapshot:
        """A copy of the state in this memory.

        What was in CPU memory is complete on return, what was on a GPU once `wait` has returned; later work of the
        current streams may change the state at once.

        Raises:
            CheckpointError: A tensor has a dtype that cannot be stored.
            BufferMemoryError: There is no memory for it.
        """
        for name in self._tensors.keys() - live.tensors.keys():
            del self._tensors[name]
        on_gpus = [name for name, source in live.tensors.items() if source.is_cuda]
        for device in {live.tensors[name].device for name in on_gpus}:
            self._queue_gpu_copies(
                device, {name: live.tensors[name] for name in on_gpus if live.tensors[name].device == device}
            )
        here = {name: source for name, source in live.tensors.items() if not source.is_cuda}
        if here:  # one call: the way into torch costs as much for each tensor as the copy of a small one
            torch._foreach_copy_([self._allocated(name, source) for name, source in here.items()], list(here.values()))
        return Snapshot({name: self._tensors[name] for name in live.tensors}, live.tree)

    def wait(self) -> None:
        """Return when the copies from the GPUs have arrived."""
        for stream in self._streams.values():
            stream.synchronize()

    def release(self) -> None:
        """Give the memory back, once nothing is copied into it any more."""
        self.wait()
        self._tensors = {}

    def _queue_gpu_copies(self, device: torch.device, sources: Mapping[str, torch.Tensor]) -> None:
        """Queue copies that run beside the loop, after all GPU work queued before them and before all later."""
        with torch.cuda.device(device):
            stream = self._streams.get(device) or torch.cuda.Stream(device)
            self._streams[device] = stream
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                for name, source in sources.items():
                    self._allocated(name, source).copy_(source, non_blocking=True)
            torch.cuda.current_stream().wait_stream(stream)  # the next step may not overtake the copy

    def _allocated(self, name: str, source: torch.Tensor) -> torch.Tensor:
        target = self._tensors.get(name)
        if target is None or target.dtype != source.dtype or target.shape != source.shape:
            tensor_spec(source, name)
            target = _allocate_like(source)
            self._tensors[name] = target
        return target


def _allocate_like(source: torch.Tensor) -> torch.Tensor:
    try:
        # Only page-locked memory lets a GPU copy at the speed of the bus.
        return torch.empty(source.shape, dtype=source.dtype, device="cpu", pin_memory=source.is_cuda)
    except (MemoryError, RuntimeError) as error:  # torch's allocators raise RuntimeError and kinds of it
        raise BufferMemoryError(str(error).partition("\n")[0]) from error
