"""Out of memory: recognised on every device, and said with what did not fit and what to change."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from latentwire.errors import LatentWireError


class DeviceMemoryError(LatentWireError):
    """The memory of the device does not hold one step."""


def is_out_of_memory(error: BaseException) -> bool:
    """Is it this? The CPU's allocator has no type of its own."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error)


@contextmanager
def out_of_memory_errors(examples: int, what: str) -> Iterator[None]:
    """Say that a forward of so many examples did not fit, `what` these are, and what to change.

    Raises:
        NoRoomError: Instead of torch's error.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise DeviceMemoryError(
            f"A forward and backward of {examples} examples ({what}) does not fit into memory: "
            f"{str(error).splitlines()[0]} Checkpoints are intact. Next: `latentwire doctor --memory` says what takes "
            f"how much; start fewer processes on this machine (LATENTWIRE_PROCESSES), or raise train.shards or lower "
            f"train.batch in params.yaml, which changes the results."
        ) from error
