"""Reading a checkpoint: every byte is checked, and what is missing is told from what cannot be read now."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unbroken.checkpoint.manifest import MANIFEST_FILE, Manifest, parse_manifest
from unbroken.checkpoint.state import Snapshot
from unbroken.checkpoint.tensorfile import read_tensors
from unbroken.checkpoint.tree import Decoder
from unbroken.errors import CheckpointError, DamagedError, errno_name, storage_errors
from unbroken.filesystem import FileSystem, read_file
from unbroken.run_folder.journal import JOURNAL_FILE
from unbroken.run_folder.stored_journal import StoredJournal, find_journal

CHECKPOINTS_FOLDER = "checkpoints"
"""In the folder of a run."""
TENSORS_FILE = "tensors.safetensors"
CHECKPOINT_FILES = (MANIFEST_FILE, TENSORS_FILE, JOURNAL_FILE)
"""Of a checkpoint that stands alone, such as an export; one in a run shares the journal with the others."""
PINS_FOLDER = "pins"
"""Where a run keeps checkpoints that have a name, beside those that it resumes from."""
_STEP = re.compile(r"step-(\d{8,18})")


def list_steps(names: Iterable[str]) -> list[int]:
    """The steps of the checkpoint folders among these names, ascending."""
    return sorted(int(match[1]) for match in map(_STEP.fullmatch, names) if match)


@dataclass(frozen=True)
class Checkpoint:
    """A verified checkpoint. `snapshot.tensors` is empty when it was only verified."""

    path: Path
    manifest: Manifest
    snapshot: Snapshot
    journal: StoredJournal

    @property
    def step(self) -> int:
        """The last step that is in it."""
        return self.manifest.step

    def state(self, name: str) -> Any:
        """What `state_dict` of one object gave.

        Raises:
            CheckpointError: No object has this name.
        """
        tree = self.manifest.tree
        if not isinstance(tree, dict) or name not in tree:
            held = ", ".join(tree) if isinstance(tree, dict) else "no state"
            raise CheckpointError(f"{self.path} holds {held}, expected {name} among it.")
        return Decoder(self.snapshot.tensors).decode(tree[name])


def load_checkpoint(folder: Path) -> Checkpoint:
    """Read a checkpoint folder for what is in it, such as the export of a finished run, and check every byte.

    Raises:
        DamagedError: It is missing or damaged.
        CheckpointError: Another version wrote it.
        StorageError: It cannot be read now.
    """
    files = FileSystem()
    with storage_errors("read the checkpoint", folder, "It was not touched."):
        try:
            return read_verified(files, folder, read_manifest(files, folder), keep=True)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
            if not folder.parent.is_dir() or is_proven_absent(files, folder, error):
                raise DamagedError(
                    f"No checkpoint could be read from {folder} ({errno_name(error)}); expected "
                    f"{', '.join(CHECKPOINT_FILES)} there. Next: run the training that writes it.",
                    "incomplete",
                ) from None
            raise


def read_manifest(files: FileSystem, folder: Path, from_disk: bool = False) -> Manifest:
    """The manifest of a checkpoint folder.

    Raises:
        DamagedError: It does not match its own seal.
        CheckpointError: Another version wrote it.
        OSError: It cannot be read now.
    """
    path = folder / MANIFEST_FILE
    return parse_manifest(read_file(files, path, from_disk), str(path))


def read_verified(files: FileSystem, folder: Path, manifest: Manifest, keep: bool) -> Checkpoint:
    """The other files of a checkpoint folder, held against its manifest; `keep=False` does not keep the tensors.

    Raises:
        DamagedError: A byte differs.
        OSError: A file cannot be read now.
    """
    journal = find_history(files, folder, manifest)
    tensors = read_tensors(files, folder / TENSORS_FILE, manifest.layout, manifest.digests, keep)
    return Checkpoint(folder, manifest, Snapshot(tensors, manifest.tree, manifest.digests if keep else None), journal)


def find_history(files: FileSystem, folder: Path, manifest: Manifest) -> StoredJournal:
    """The history that belongs to a checkpoint: in its own folder, or in the files that all those of a run share.

    Raises:
        DamagedError: It is not whole there.
        OSError: It cannot be read now.
    """
    own = folder / JOURNAL_FILE  # in an export, or written by an older version; then nothing else counts
    is_alone = JOURNAL_FILE in files.names(folder) or not _STEP.fullmatch(folder.name)
    is_pinned = folder.parent.parent.name == PINS_FOLDER
    checkpoints = folder.parent.parent.parent / CHECKPOINTS_FOLDER if is_pinned else folder.parent
    shared = (checkpoints / JOURNAL_FILE, checkpoints.parent / JOURNAL_FILE)
    return find_journal(files, (own,) if is_alone else shared, *manifest.journal, grows=not is_alone)


def is_proven_absent(files: FileSystem, folder: Path, error: OSError) -> bool:
    """Whether a file that could not be opened is not there, as its folder can be listed and lacks it.

    A link that leads nowhere, or a folder that is gone with its mount, proves nothing.
    """
    if isinstance(error, IsADirectoryError):
        return True
    try:
        return error.filename is not None and Path(error.filename).name not in files.names(folder)
    except NotADirectoryError:
        return True  # a file has the name of a checkpoint
    except FileNotFoundError:
        return folder.name not in files.names(folder.parent)
