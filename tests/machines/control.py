"""What native kernels are told apart by: some of the calls of the real models."""

from __future__ import annotations

from collections.abc import Iterator

from latentwire.params.load import Params
from tests.machines import replay

EVERY = 16


def compute_parts(values: Params) -> Iterator[tuple[str, str]]:
    """As `replay` does, each sixteenth call."""
    return replay.compute_parts(values, EVERY)
