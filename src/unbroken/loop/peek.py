"""Where a run stands, told from its folder alone: nothing is changed, and no lock is taken."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from unbroken.checkpoint.reading import CHECKPOINTS_FOLDER, list_steps, read_manifest, read_verified
from unbroken.errors import DamagedError, storage_errors
from unbroken.filesystem import FileSystem
from unbroken.loop.pins import list_names, list_pins

_ROUNDS = 10


@dataclass(frozen=True)
class RunStatus:
    """What a start of the run would find."""

    step: int
    """Where it would go on from; 0: at the beginning, or with `damaged`, nowhere without the user's word."""
    final: bool
    """Whether that is the end of the run, as far as it was asked for."""
    pins: Mapping[str, int]
    """Name -> step of the pinned checkpoints."""
    damaged: tuple[str, ...]
    """A sentence for each newer checkpoint that would be set aside."""


def peek_run(folder: Path, files: FileSystem | None = None) -> RunStatus:
    """Look where a run would resume, also while another process trains it. Every byte of that checkpoint is read.

    Raises:
        CheckpointError: Another version wrote it.
        StorageError: It cannot be read now.
    """
    files, folder = files or FileSystem(), Path(os.path.abspath(folder))
    with storage_errors("look at the run", folder, "Nothing was changed."):
        for _ in range(_ROUNDS):
            try:
                return _look(files, folder)
            except _RotatedError:  # by the process that trains: there is a newer one
                continue
        return _look(files, folder)


class _RotatedError(OSError):
    """A checkpoint was removed while it was read."""


def _look(files: FileSystem, folder: Path) -> RunStatus:
    checkpoints, damaged = folder / CHECKPOINTS_FOLDER, list[str]()
    for step in reversed(list_steps(list_names(files, checkpoints))):
        path = checkpoints / f"step-{step:08d}"
        try:
            manifest = read_manifest(files, path)
            read_verified(files, path, manifest, keep=False)
            return RunStatus(step, manifest.pinned, dict(list_pins(files, folder, step)), tuple(damaged))
        except (DamagedError, FileNotFoundError, NotADirectoryError) as error:
            if path.name not in list_names(files, checkpoints):
                raise _RotatedError(str(path)) from error
            damaged.append(str(error))
    return RunStatus(0, False, {}, tuple(damaged))
