"""One process per run folder."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
import weakref
from pathlib import Path
from typing import NamedTuple

from unbroken.errors import LockedError, storage_errors
from unbroken.filesystem import FILE_MODE, FileSystem, read_file

LOCK_FILE = "lock"
_POLL_S = 0.1


class Holder(NamedTuple):
    """Who holds a lock, or held it last."""

    pid: int
    host: str


def read_holder(folder: Path) -> Holder | None:
    """What the lock file of a folder says; None where it says nothing. Nothing is locked, or waited for."""
    try:
        return _parse_holder(read_file(FileSystem(), folder / LOCK_FILE))
    except OSError:
        return None


def _parse_holder(text: bytes) -> Holder | None:
    try:
        said = json.loads(text)
        return Holder(int(said["pid"]), str(said["host"]))
    except (ValueError, KeyError, TypeError):
        return None


class FolderLock:
    """An exclusive flock, freed by the kernel however its holder ends; there is no stale lock to clean."""

    def __init__(self, folder: Path, timeout: float) -> None:
        """Take the lock, waiting up to `timeout` seconds for a holder that is about to end.

        Raises:
            LockedError: Another process holds it; the message has its pid and host.
            StorageError: The lock file cannot be made.
        """
        self._path = Path(os.path.abspath(folder)) / LOCK_FILE
        until = time.monotonic() + timeout
        self._take(until)
        while not self.is_at_its_path:  # it was removed while we waited for it: then it locks nobody out
            os.close(self._descriptor)
            self._take(until)
        _held.add(self)

    @property
    def is_at_its_path(self) -> bool:
        """Is the file that we hold still the one that others find? Also true where the system does not say."""
        try:
            found = os.stat(self._path)
        except FileNotFoundError:
            return False
        except OSError:
            return True
        return (found.st_dev, found.st_ino) == self._file

    def check_still_held(self) -> None:
        """Make sure that nobody else may work on the folder by now.

        Raises:
            LockedError: The lock file was removed, and with it the protection from a second process.
        """
        if not self.is_at_its_path:
            raise LockedError(
                f"The lock file {self._path} is no longer the one that this process holds: it was removed or replaced, "
                f"so that another process may be at work in {self._path.parent}. This process wrote nothing there "
                f"since it noticed, and stops; checkpoints are intact. Next: make sure that no other process works on "
                f"the folder, leave the lock file where it is (it needs no cleaning), then run the same command again."
            )

    def release(self) -> None:
        """Free the lock; a second call does nothing."""
        if self in _held:
            _held.discard(self)
            os.close(self._descriptor)

    def close_in_child(self) -> None:
        """A forked data worker must not keep the lock when its parent is killed."""
        os.close(self._descriptor)

    def _take(self, until: float) -> None:
        with storage_errors("take the lock of the run folder", self._path, "Nothing was changed."):
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, FILE_MODE)
            try:
                opened = os.fstat(self._descriptor)
                self._file = (opened.st_dev, opened.st_ino)
                self._acquire(until)
            except BaseException:
                os.close(self._descriptor)
                raise

    def _acquire(self, until: float) -> None:
        while True:
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= until:
                    raise LockedError(self._describe_holder()) from None
                time.sleep(_POLL_S)
        os.ftruncate(self._descriptor, 0)
        holder = {"pid": os.getpid(), "host": socket.gethostname()}
        os.pwrite(self._descriptor, json.dumps(holder).encode(), 0)

    def _describe_holder(self) -> str:
        holder = read_holder(self._path.parent)
        who = "another process" if holder is None else f"process {holder.pid} on {holder.host}"
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
