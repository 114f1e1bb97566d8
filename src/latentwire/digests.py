"""Digests of files and folders: SHA-256, and MD5 as DVC records it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

GENERATED = ("__pycache__", ".egg-info")
"""What Python writes into code folders; .dvcignore leaves it out too."""


def sha256_of(*paths: Path) -> str:
    """SHA-256 (64 hex) of a file, or of the bytes of several, one after the other."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def md5_of_bytes(data: bytes) -> str:
    """MD5 (32 hex) of bytes."""
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def md5_of_file(path: Path) -> str:
    """MD5 (32 hex) of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def dvc_digest(path: Path) -> str | None:
    """What `dvc.lock` has for a file (32 hex) or a folder (32 hex and `.dir`); None where there is nothing."""
    if path.is_dir():
        return folder_digest(file_digests(path))
    if not path.is_file():
        return None
    return md5_of_file(path)


def file_digests(folder: Path) -> dict[str, str]:
    """Relative path → MD5 of every file of a folder, without what Python generates."""
    paths = (path for path in sorted(folder.rglob("*")) if path.is_file() and not _generated(path.relative_to(folder)))
    return {path.relative_to(folder).as_posix(): md5_of_file(path) for path in paths}


def folder_digest(files: Mapping[str, str]) -> str:
    """DVC's digest of a folder: the MD5 of its listing, and `.dir`."""
    listing = [{"md5": digest, "relpath": name} for name, digest in sorted(files.items())]
    return md5_of_bytes(json.dumps(listing, sort_keys=True).encode()) + ".dir"


def read_listing(data: bytes) -> dict[str, str]:
    """The listing that DVC stores for a folder, as relative path → MD5."""
    return {entry["relpath"]: entry["md5"] for entry in json.loads(data)}


def _generated(path: Path) -> bool:
    return any(part.endswith(GENERATED) for part in path.parts)
