"""A good copy of `dvc.lock`: DVC writes that file in place, and a kill at that instant leaves part of it."""

from __future__ import annotations

from pathlib import Path

from latentwire.output_files import replace_file

LOCK = "dvc.lock"
COPY = Path(".dvc/tmp/dvc.lock.copy")


def keep_lock_copy(root: Path) -> None:
    """Copy `dvc.lock`, if it has changed. Called while a stage runs: then DVC has just read it and does not write."""
    path, copy = root / LOCK, root / COPY
    if not (path.is_file() and copy.parent.is_dir()):
        return
    data = path.read_bytes()
    if data and not (copy.is_file() and copy.read_bytes() == data):
        with replace_file(copy) as partial:
            partial.write_bytes(data)
