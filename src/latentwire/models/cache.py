"""The cache of converted models: an entry is there whole or not at all, and carries the hashes of its files."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock
from pydantic import BaseModel, ConfigDict, ValidationError

from latentwire.console.heartbeat import heartbeat
from latentwire.digests import sha256_of
from latentwire.errors import ConfigurationError
from latentwire.models.weights import tensors_digest, weight_files
from unbroken.errors import storage_errors

FOLDER = Path(".cache/models")
MANIFEST = "latentwire.json"

Fill = Callable[[Path], str | None]
"""Writes an entry's files into a folder and returns the licence that the source states."""


class CachedFile(BaseModel):
    """A file of an entry."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: int
    sha256: str


class CacheEntry(BaseModel):
    """The manifest of an entry."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    license: str | None
    digest: str
    files: dict[str, CachedFile]


def entry_folder(cache: Path, *parts: str) -> Path:
    """Folder of the entry that is made of these sources and tools."""
    return cache / "-".join(parts)


def open_or_fill(folder: Path, fill: Fill, verify: bool) -> CacheEntry:
    """The manifest of an entry, which is made by `fill` if it is not there.

    Processes that want the same entry wait for the one that makes it. A kill leaves no half entry.

    Args:
        folder: Where the entry is.
        fill: Called with a temporary folder.
        verify: Hash the weights too; otherwise only their size is compared, and all other files are hashed.

    Raises:
        ConfigurationError: The entry is not what its manifest says.
        StorageError: It could not be written.
    """
    # A whole entry needs no lock: the cache may be read-only, inside an image for example.
    if not folder.exists():
        with storage_errors("write a converted model", folder, "What was written before is intact."):
            _make(folder, fill)
    return _checked(folder, verify)


def _make(folder: Path, fill: Fill) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    with heartbeat(f"waiting for the lock of {folder}", at_once=False):
        lock = FileLock(f"{folder}.lock").acquire()
    with lock:
        if folder.exists():
            return
        partial = folder.with_name(folder.name + ".partial")
        # The lock is ours, so whoever left this was killed.
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        try:
            _fill(partial, fill)
            partial.rename(folder)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        _sync(folder.parent)


def _fill(partial: Path, fill: Fill) -> None:
    manifest = _describe(partial, fill(partial))
    (partial / MANIFEST).write_text(manifest.model_dump_json(indent=1), encoding="utf-8")
    for path in (*partial.iterdir(), partial):
        _sync(path)


def _describe(folder: Path, license_: str | None) -> CacheEntry:
    files = {p.name: CachedFile(size=p.stat().st_size, sha256=sha256_of(p)) for p in sorted(folder.iterdir())}
    return CacheEntry(license=license_, digest=tensors_digest(folder), files=files)


def _checked(folder: Path, verify: bool) -> CacheEntry:
    try:
        found = CacheEntry.model_validate_json((folder / MANIFEST).read_bytes())
    except (OSError, ValidationError):
        raise _damaged(folder, f"{MANIFEST} is missing or unreadable") from None
    weights = set(weight_files(folder))
    for name, file in found.files.items():
        path = folder / name
        if not path.is_file() or path.stat().st_size != file.size:
            raise _damaged(folder, f"{name} is missing or does not have {file.size} bytes")
        if (verify or path not in weights) and sha256_of(path) != file.sha256:
            raise _damaged(folder, f"{name} does not have SHA-256 {file.sha256}")
    return found


def _damaged(folder: Path, what: str) -> ConfigurationError:
    return ConfigurationError(
        f"The cached model in {folder} was changed or damaged: {what}, which its manifest expects. "
        f"Next: `rm -r {folder}`, then start again; it is made anew from its source."
    )


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
