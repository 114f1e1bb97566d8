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
PATIENCE_S = 600.0
"""So long a second `park` or `fetch` of the same run waits for the first."""


@contextmanager
def workplace(state: Path, run: str) -> Iterator[Path]:
    """An empty folder on the file system of the run folders, for one process at a time; removed afterwards.

    What a killed process left in it goes first. Raises LockedError, StorageError.
    """
    place = state / FOLDER / run
    with storage_errors("make the workplace", place, "Nothing was changed."):
        place.mkdir(parents=True, exist_ok=True)
    with locked(place, PATIENCE_S):
        work = place / "work"
        try:
            _clear(work)
            work.mkdir()
            yield work
        finally:
            _clear(work)


@contextmanager
def locked(folder: Path, patience: float) -> Iterator[None]:
    """Hold the lock of a folder. Raises LockedError, StorageError."""
    lock = FolderLock(folder, patience)
    try:
        yield
    finally:
        lock.release()


def link(source: Path, target: Path) -> None:
    """A second name for a file that nobody writes to: it stays when rotation removes the first. Raises OSError."""
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
