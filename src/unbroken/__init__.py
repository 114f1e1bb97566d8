"""Training loops that survive: exact resume, checked checkpoints, one story.

Names are loaded on first use: `unbroken.preemption` must be importable, and catch signals, before torch is.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from unbroken.checkpoint import CheckpointStore as CheckpointStore
    from unbroken.identity import Identity as Identity
    from unbroken.preemption import Preempted as Preempted
    from unbroken.preemption import StopFlag as StopFlag
    from unbroken.run import Observer as Observer
    from unbroken.run import Run as Run

_HOMES = {
    "CheckpointStore": "checkpoint",
    "Identity": "identity",
    "Observer": "run",
    "Preempted": "preemption",
    "Run": "run",
    "StopFlag": "preemption",
}
__all__ = ["CheckpointStore", "Identity", "Observer", "Preempted", "Run", "StopFlag"]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'unbroken' has no attribute {name!r}; it has {', '.join(sorted(_HOMES))}")
    return getattr(import_module(f"unbroken.{_HOMES[name]}"), name)
