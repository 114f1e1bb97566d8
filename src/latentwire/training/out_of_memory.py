"""Out of memory: recognised on every device, and explained: what did not fit, and what to change."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from latentwire.errors import LatentWireError


class DeviceMemoryError(LatentWireError):
    """The memory of the device does not hold one step."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out. The CPU's allocator raises no type of its own."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error)


@contextmanager
def out_of_memory_errors(examples: int, what: str) -> Iterator[None]:
    """Turn torch's error into one that says what did not fit, and what to change.

    Args:
        examples: How many examples the forward had.
        what: What these are.

    Raises:
        DeviceMemoryError: Instead of torch's error.
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
            "train.batch in params.yaml, which changes the results."
        ) from error
