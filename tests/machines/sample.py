"""Every operation of the real models, with some of its shapes: what CI emulates."""

from __future__ import annotations

from collections.abc import Iterator

from latentwire.params.load import Params
from tests.machines import replay


def compute_parts(values: Params) -> Iterator[tuple[str, str]]:
    """As `replay` does, with fewer calls."""
    return replay.compute_parts(values, most=8)
