"""What became of the run, in a file: exit codes do not survive every program between us and the scheduler."""

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
    """`exit`: 0 finished, 1 failed, 75 run me again. `step`: last durable. `signal`: what asked to stop."""

    exit: int
    step: int | None
    signal: str | None

    def text(self) -> bytes:
        """One JSON line."""
        return encode_canonical(asdict(self)) + b"\n"


def write_verdict(verdict: Verdict, folder: Path | None = None, files: FileSystem | None = None) -> None:
    """Write the verdict to the run folder, whose owner we are, and to UNBROKEN_VERDICT, where given. Raises OSError.

    It is for the script that started us, which a power cut ends with us: so nobody waits for the disk.
    """
    files, asked = files or FileSystem(), environment.verdict_path()
    if folder:
        replace_unsynced(files, folder / VERDICT_FILE, verdict.text())
    if asked:
        replace_unsynced(files, asked, verdict.text(), by=os.getpid())  # launchers and ranks write it too


def clear_verdict(folder: Path, files: FileSystem) -> None:
    """Remove old verdicts: a process that is killed must not leave its predecessor's. Raises OSError."""
    for path in filter(None, (folder / VERDICT_FILE, environment.verdict_path())):
        remove_tree(files, path)
