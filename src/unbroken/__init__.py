"""Training loops that survive: exact resume, checked checkpoints, one story.

Names are loaded on first use: `unbroken.preemption` must be importable, and catch signals, before torch is.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from unbroken.checkpoint.store import CheckpointStore as CheckpointStore
    from unbroken.observers import Observer as Observer
    from unbroken.preemption import Preempted as Preempted
    from unbroken.preemption import StopFlag as StopFlag
    from unbroken.run import Run as Run
    from unbroken.run_folder.code_digest import code_digest as code_digest
    from unbroken.run_folder.identity import Identity as Identity
    from unbroken.run_folder.identity import open_run_folder as open_run_folder

_HOMES = {
    "CheckpointStore": "checkpoint.store",
    "Identity": "run_folder.identity",
    "Observer": "observers",
    "Preempted": "preemption",
    "Run": "run",
    "StopFlag": "preemption",
    "code_digest": "run_folder.code_digest",
    "open_run_folder": "run_folder.identity",
}
__all__ = ["CheckpointStore", "Identity", "Observer", "Preempted", "Run", "StopFlag", "code_digest", "open_run_folder"]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'unbroken' has no attribute {name!r}; it has {', '.join(sorted(_HOMES))}")
    return getattr(import_module(f"unbroken.{_HOMES[name]}"), name)
