"""The cache of converted models: an entry is complete or absent, and carries the hashes of its files."""

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
    """The folder of the entry made from these sources and tools."""
    return cache / "-".join(parts)


def open_or_fill(folder: Path, fill: Fill, verify: bool) -> CacheEntry:
    """Return the manifest of an entry; `fill` makes the entry if it is not there.

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
            _make_entry(folder, fill)
    return _check_entry(folder, verify)


def _make_entry(folder: Path, fill: Fill) -> None:
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
        _sync_to_disk(folder.parent)


def _fill(partial: Path, fill: Fill) -> None:
    manifest = _describe_files(partial, fill(partial))
    (partial / MANIFEST).write_text(manifest.model_dump_json(indent=1), encoding="utf-8")
    for path in (*partial.iterdir(), partial):
        _sync_to_disk(path)


def _describe_files(folder: Path, license_: str | None) -> CacheEntry:
    files = {p.name: CachedFile(size=p.stat().st_size, sha256=sha256_of(p)) for p in sorted(folder.iterdir())}
    return CacheEntry(license=license_, digest=tensors_digest(folder), files=files)


def _check_entry(folder: Path, verify: bool) -> CacheEntry:
    try:
        entry = CacheEntry.model_validate_json((folder / MANIFEST).read_bytes())
    except (OSError, ValidationError):
        raise _damage_error(folder, f"{MANIFEST} is missing or unreadable") from None
    weights = set(weight_files(folder))
    for name, file in entry.files.items():
        path = folder / name
        if not path.is_file() or path.stat().st_size != file.size:
            raise _damage_error(folder, f"{name} is missing or does not have {file.size} bytes")
        if (verify or path not in weights) and sha256_of(path) != file.sha256:
            raise _damage_error(folder, f"{name} does not have SHA-256 {file.sha256}")
    return entry


def _damage_error(folder: Path, what: str) -> ConfigurationError:
    return ConfigurationError(
        f"The cached model in {folder} was changed or damaged: {what}, which its manifest expects. "
        f"Next: `rm -r {folder}`, then start again; it is made anew from its source."
    )


def _sync_to_disk(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
