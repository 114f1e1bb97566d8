"""Where a loop was left on purpose before its last step, so that a later start does not train past it."""

from __future__ import annotations

import json
from pathlib import Path

from unbroken.canonical_json import encode_canonical
from unbroken.errors import storage_errors
from unbroken.filesystem import FileSystem, read_file, replace_file

EARLY_END_FILE = "early-end.json"


def write_early_end(folder: Path, step: int, total: int | None, files: FileSystem) -> None:
    """The loop for `total` steps (None: without end) was left in `step`.

    Written before that step is final: only then does it count.

    Raises:
        StorageError: The disk refused.
    """
    with storage_errors("write the early end", folder / EARLY_END_FILE, "Checkpoints in this folder are intact."):
        replace_file(files, folder / EARLY_END_FILE, encode_canonical({"step": step, "total": total}) + b"\n")


def read_early_end(folder: Path, files: FileSystem) -> tuple[int, int | None] | None:
    """The step in which a loop was left, and how many it was asked for (None: no end); None when none was left.

    Raises:
        StorageError: The file cannot be read.
    """
    path = folder / EARLY_END_FILE
    with storage_errors("read the early end", path, "Nothing was changed."):
        try:
            fields = json.loads(read_file(files, path))
            return int(fields["step"]), None if fields["total"] is None else int(fields["total"])
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None
