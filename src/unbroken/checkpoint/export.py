"""The final state as a result: three files that hold no trace of how they came about."""

from __future__ import annotations

import os
from pathlib import Path

from unbroken.checkpoint.manifest import MANIFEST_FILE
from unbroken.checkpoint.store import TENSORS_FILE, Checkpoint
from unbroken.errors import storage_errors
from unbroken.filesystem import FileSystem, read_file, remove_tree, sync_folder, write_durably
from unbroken.run_folder.journal import JOURNAL_FILE


def export_checkpoint(checkpoint: Checkpoint, target: Path, files: FileSystem) -> None:
    """Copy a verified checkpoint to `target`, which then has all of it or is as before.

    Raises:
        StorageError: The disk refused.
        DamagedError: The history has changed since it was checked.
    """
    target = Path(os.path.abspath(target))
    temporary = target.with_name(f".tmp-{target.name}-new")
    replaced = target.with_name(f".tmp-{target.name}-old")
    intact = f"The final checkpoint {checkpoint.path} is intact."
    with storage_errors("export the final state", target, intact):
        target.parent.mkdir(parents=True, exist_ok=True)
        remove_tree(files, temporary)
        remove_tree(files, replaced)
        files.make_folder(temporary)
        for name in (MANIFEST_FILE, TENSORS_FILE):
            data = read_file(files, checkpoint.path / name)
            write_durably(files, temporary / name, len(data), [data])
        write_durably(files, temporary / JOURNAL_FILE, checkpoint.journal.size, checkpoint.journal.chunks())
        sync_folder(files, temporary)
        if target.exists():
            files.rename(target, replaced)
        files.rename(temporary, target)
        sync_folder(files, target.parent)
        remove_tree(files, replaced)
