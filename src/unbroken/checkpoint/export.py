"""The final state as a result: three files that hold no trace of how they came about."""

from __future__ import annotations

import os
from pathlib import Path

from unbroken.checkpoint.manifest import MANIFEST_FILE
from unbroken.checkpoint.reading import CHECKPOINTS_FOLDER, PINS_FOLDER
from unbroken.checkpoint.store import TENSORS_FILE, Checkpoint
from unbroken.errors import UnbrokenError, storage_errors
from unbroken.filesystem import FileSystem, read_file, remove_tree, sync_folder, write_durably
from unbroken.run_folder.identity import IDENTITY_FILE
from unbroken.run_folder.journal import JOURNAL_FILE
from unbroken.run_folder.lock import LOCK_FILE

_EXPORTED = (JOURNAL_FILE, TENSORS_FILE, MANIFEST_FILE)
_OF_A_RUN = (CHECKPOINTS_FOLDER, PINS_FOLDER)


def export_checkpoint(checkpoint: Checkpoint, target: Path, files: FileSystem) -> None:
    """Copy a verified checkpoint to `target`, which then has all of it or is as before.

    Where the folder has other files, those stay, and each of the three is replaced by itself, the manifest last.

    Raises:
        StorageError: The disk refused.
        DamagedError: The history has changed since it was checked.
        UnbrokenError: The target is no folder, or is that of a run.
    """
    target = Path(os.path.realpath(target))
    _check_target(target)
    with storage_errors("export the final state", target, f"The final checkpoint {checkpoint.path} is intact."):
        target.parent.mkdir(parents=True, exist_ok=True)
        if _is_replaceable(target, files):
            _replace_folder(checkpoint, target, files)
        else:
            _replace_files(checkpoint, target, files)


def _check_target(target: Path) -> None:
    if target.exists() and not target.is_dir():
        raise UnbrokenError(
            f"The state cannot be exported to {target}, which is no folder. Nothing was changed. Next: name another "
            "one, or move that file away."
        )
    inner = {place.parent for place in (target, *target.parents) if place.name in _OF_A_RUN}
    for folder in {target, *inner}:
        if (folder / IDENTITY_FILE).exists() and (folder / LOCK_FILE).exists():
            raise UnbrokenError(
                f"The state cannot be exported to {target}, where the run in {folder} keeps its own files. Nothing "
                f"was changed. Next: name another folder, such as {folder / 'final'}."
            )


def _is_replaceable(target: Path, files: FileSystem) -> bool:
    """Whether it is missing, or has nothing but what was exported before."""
    if not target.exists():
        return True
    if target.is_mount():  # as a volume of a container is
        return False
    return all(name in _EXPORTED and (target / name).is_file() for name in files.names(target))


def _replace_folder(checkpoint: Checkpoint, target: Path, files: FileSystem) -> None:
    temporary = target.with_name(f".tmp-{target.name}-new")
    replaced = target.with_name(f".tmp-{target.name}-old")
    remove_tree(files, replaced)
    _write_new(checkpoint, temporary, files)
    if target.exists():
        files.rename(target, replaced)
    files.rename(temporary, target)
    sync_folder(files, target.parent)
    remove_tree(files, replaced)


def _replace_files(checkpoint: Checkpoint, target: Path, files: FileSystem) -> None:
    temporary = target / ".tmp-export-new"
    _write_new(checkpoint, temporary, files)
    for name in _EXPORTED:
        files.rename(temporary / name, target / name)
    sync_folder(files, target)
    remove_tree(files, temporary)


def _write_new(checkpoint: Checkpoint, folder: Path, files: FileSystem) -> None:
    remove_tree(files, folder)
    files.make_folder(folder)
    for name in (MANIFEST_FILE, TENSORS_FILE):
        data = read_file(files, checkpoint.path / name)
        write_durably(files, folder / name, len(data), [data])
    write_durably(files, folder / JOURNAL_FILE, checkpoint.journal.size, checkpoint.journal.chunks())
    sync_folder(files, folder)
