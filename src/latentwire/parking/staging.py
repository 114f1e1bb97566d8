"""Where a checkpoint is put together before it is sent, or before it appears in the run folder."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from unbroken.errors import storage_errors
from unbroken.filesystem import FileSystem, remove_tree
from unbroken.run_folder.lock import FolderLock

FOLDER = ".parking"
TIMEOUT_S = 600.0
"""How long a second `park` or `fetch` of the same run waits for the first."""


@contextmanager
def staging_folder(state: Path, run: str) -> Iterator[Path]:
    """An empty folder on the file system of the run folders, for one process at a time; removed afterwards.

    What a killed process left there is removed first.

    Raises:
        LockedError: Another process has been using it for longer than `TIMEOUT_S`.
        StorageError: The disk refused.
    """
    parent = state / FOLDER / run
    with storage_errors("make the workplace", parent, "Nothing was changed."):
        parent.mkdir(parents=True, exist_ok=True)
    with locked_folder(parent, TIMEOUT_S):
        work = parent / "work"
        try:
            _clear(work)
            work.mkdir()
            yield work
        finally:
            _clear(work)


@contextmanager
def locked_folder(folder: Path, timeout: float) -> Iterator[None]:
    """Hold the lock of a folder.

    Raises:
        LockedError: Another process held it until the timeout.
        StorageError: The disk refused.
    """
    lock = FolderLock(folder, timeout)
    try:
        yield
    finally:
        lock.release()


def link_or_copy(source: Path, target: Path) -> None:
    """Give a second name to a file that nobody writes to: it stays when rotation removes the first.

    Raises:
        OSError: The source is gone, or the disk refused.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except FileNotFoundError:
        raise
    except OSError:  # a file system without hard links
        shutil.copyfile(source, target)


def _clear(work: Path) -> None:
    with storage_errors("clear the workplace", work, "No run folder was touched."):
        remove_tree(FileSystem(), work)
