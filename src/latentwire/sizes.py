"""Numbers of bytes for people."""

from __future__ import annotations

GIB = 2**30


def format_bytes(count: float) -> str:
    """A number of bytes for people."""
    return f"{count / GIB:.2f} GiB" if count >= GIB / 10 else f"{count / 2**20:.1f} MiB"
