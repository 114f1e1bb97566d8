"""One process per run folder."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
import weakref
from pathlib import Path

from unbroken.errors import LockedError, storage_errors
from unbroken.filesystem import FILE_MODE

LOCK_FILE = "lock"
_POLL_S = 0.1


class FolderLock:
    """An exclusive flock, freed by the kernel however its holder ends; there is no stale lock to clean."""

    def __init__(self, folder: Path, timeout: float) -> None:
        """Take the lock, waiting up to `timeout` seconds for a holder that is about to end.

        Raises:
            LockedError: Another process holds it; the message has its pid and host.
            StorageError: The lock file cannot be made.
        """
        self._path = folder / LOCK_FILE
        with storage_errors("take the lock of the run folder", self._path, "Nothing was changed."):
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, FILE_MODE)
        try:
            self._acquire(timeout)
        except BaseException:
            os.close(self._descriptor)
            raise
        _held.add(self)

    def release(self) -> None:
        """Free the lock; a second call does nothing."""
        if self in _held:
            _held.discard(self)
            os.close(self._descriptor)

    def close_in_child(self) -> None:
        """A forked data worker must not keep the lock when its parent is killed."""
        os.close(self._descriptor)

    def _acquire(self, timeout: float) -> None:
        until = time.monotonic() + timeout
        while True:
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= until:
                    raise LockedError(self._describe_holder()) from None
                time.sleep(_POLL_S)
        with storage_errors("write the lock of the run folder", self._path, "Nothing was changed."):
            os.ftruncate(self._descriptor, 0)
            holder = {"pid": os.getpid(), "host": socket.gethostname()}
            os.pwrite(self._descriptor, json.dumps(holder).encode(), 0)

    def _describe_holder(self) -> str:
        try:
            holder = json.loads(os.pread(self._descriptor, 4096, 0))
            who = f"process {holder['pid']} on {holder['host']}"
        except (ValueError, KeyError, TypeError):
            who = "another process"
        return (
            f"The run folder {self._path.parent} is in use by {who}; one process at a time may work on it. "
            f"Nothing was changed. Next: wait for it or stop it, then run the same command again."
        )


_held: weakref.WeakSet[FolderLock] = weakref.WeakSet()


def _close_all_in_child() -> None:
    for lock in list(_held):
        _held.discard(lock)
        lock.close_in_child()


os.register_at_fork(after_in_child=_close_all_in_child)
