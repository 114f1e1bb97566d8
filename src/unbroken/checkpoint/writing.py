"""Writing a checkpoint: its two files, durable in their folder, and the comparison of what then lies there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from unbroken.checkpoint.manifest import MANIFEST_FILE, Manifest
from unbroken.checkpoint.reading import TENSORS_FILE
from unbroken.checkpoint.state import Snapshot
from unbroken.checkpoint.tensorfile import TensorWriting, lay_out_tensors, verify_tensors
from unbroken.errors import DamagedError
from unbroken.filesystem import FileSystem, NewFile, read_file, sync_folder, write_all_durably


@dataclass(frozen=True)
class Written:
    """What was written, to be compared with what can be read."""

    snapshot: Snapshot
    manifest: Manifest
    text: bytes
    """Of the manifest."""


def write_checkpoint(
    files: FileSystem,
    folder: Path,
    snapshot: Snapshot,
    *,
    step: int,
    pinned: bool,
    identity: str,
    journal: tuple[int, str],
) -> Written:
    """Write both files into a new folder, durably. The arguments are those of `Manifest`.

    Raises:
        CheckpointError: A tensor has a dtype that cannot be stored.
        OSError: The disk refused.
    """
    layout = lay_out_tensors(snapshot.tensors)
    written: list[Written] = []

    def parts(writing: TensorWriting) -> Iterator[NewFile]:
        yield writing.new_file(folder / TENSORS_FILE)
        manifest = Manifest(step, pinned, identity, snapshot.tree, layout, writing.digests(), journal)
        written.append(Written(snapshot, manifest, text := manifest.text()))
        yield NewFile(folder / MANIFEST_FILE, len(text), [text])

    files.make_folder(folder)
    with TensorWriting(layout, snapshot.tensors) as writing:
        write_all_durably(files, parts(writing))
    sync_folder(files, folder)
    return written[0]


def verify_checkpoint(files: FileSystem, folder: Path, written: Written) -> None:
    """Read both files back and compare them with what is in memory.

    Raises:
        DamagedError: They differ.
        OSError: They cannot be read.
    """
    if read_file(files, folder / MANIFEST_FILE, from_disk=True) != written.text:
        raise DamagedError(f"{folder / MANIFEST_FILE} is not what was written.", "manifest")
    verify_tensors(files, folder / TENSORS_FILE, written.manifest.layout, written.snapshot.tensors)
