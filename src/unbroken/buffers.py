"""Memory that a state is copied into, kept from save to save."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from unbroken.state import Snapshot
from unbroken.tensorfile import spec_of


class Buffer:
    """Room for one snapshot. Filling it again allocates nothing as long as names, types and shapes stay."""

    def __init__(self) -> None:
        self._tensors: dict[str, torch.Tensor] = {}

    def prepare(self, like: Mapping[str, torch.Tensor]) -> None:
        """Allocate for tensors like these and touch every page: the first fill is then a plain copy too."""
        for name, source in like.items():
            self._room(name, source).zero_()

    def fill(self, live: Snapshot) -> Snapshot:
        """A copy of the state in this memory, complete on return. Raises CheckpointError for an unknown dtype."""
        for name in self._tensors.keys() - live.tensors.keys():
            del self._tensors[name]
        for name, source in live.tensors.items():
            self._room(name, source).copy_(source, non_blocking=True)
        if any(source.is_cuda for source in live.tensors.values()):
            torch.cuda.synchronize()  # the copies above were only queued
        return Snapshot({name: self._tensors[name] for name in live.tensors}, live.tree)

    def _room(self, name: str, source: torch.Tensor) -> torch.Tensor:
        room = self._tensors.get(name)
        if room is None or room.dtype != source.dtype or room.shape != source.shape:
            spec_of(source, name)
            # Only page-locked memory lets a GPU copy at the speed of the bus.
            room = torch.empty(source.shape, dtype=source.dtype, pin_memory=source.is_cuda)
            self._tensors[name] = room
        return room
