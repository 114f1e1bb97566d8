"""What became of the run, in a file: an exit code does not survive every program between us and the scheduler."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path

from unbroken import environment
from unbroken.canonical_json import encode_canonical
from unbroken.filesystem import FileSystem, remove_tree, replace_unsynced

VERDICT_FILE = "verdict.json"


@dataclass(frozen=True)
class Verdict:
    """`exit`: 0 finished, 1 failed, 2 refused, 75 run me again. `step`: last durable. `signal`: what asked to stop."""

    exit: int
    step: int | None
    signal: str | None

    def text(self) -> bytes:
        """One JSON line."""
        return encode_canonical(asdict(self)) + b"\n"


def write_verdict(verdict: Verdict, folder: Path | None = None, files: FileSystem | None = None) -> None:
    """Write the verdict to the run folder, if we own one, and to UNBROKEN_VERDICT, if it is set.

    It is for the script that started us, which a power cut ends too: so it is not synced.

    Raises:
        OSError: The disk refused.
    """
    files, requested = files or FileSystem(), environment.verdict_path()
    if folder:
        replace_unsynced(files, folder / VERDICT_FILE, verdict.text())
    if requested:
        replace_unsynced(files, requested, verdict.text(), writer=os.getpid())  # launchers and ranks write it too


def clear_verdict(folder: Path, files: FileSystem) -> None:
    """Remove old verdicts: a process that is killed must not leave that of its predecessor.

    Raises:
        OSError: The disk refused.
    """
    for path in filter(None, (folder / VERDICT_FILE, environment.verdict_path())):
        remove_tree(files, path)
