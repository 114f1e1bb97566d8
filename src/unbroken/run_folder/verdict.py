"""What became of the run, in a file: an exit code does not survive every program between us and the scheduler."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

from unbroken import environment
from unbroken.canonical_json import encode_canonical
from unbroken.errors import errno_name, log_sentence, storage_errors
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
        OSError: The disk refused one of them; the other, which may be on another disk, is written.
    """
    files, requested = files or FileSystem(), environment.verdict_path()
    with ExitStack() as stack:  # everything in it is done, whatever fails
        if requested:  # launchers and ranks write it too
            stack.callback(_replace, files, requested, verdict.text(), writer=os.getpid())
        if folder:
            stack.callback(_replace, files, folder / VERDICT_FILE, verdict.text())


def announce_verdict(
    verdict: Verdict,
    folder: Path | None = None,
    files: FileSystem | None = None,
    report: Callable[[str], None] = log_sentence,
) -> None:
    """As `write_verdict`; a disk that refuses costs the file, which is reported, never the exit code."""
    try:
        write_verdict(verdict, folder, files)
    except OSError as error:
        report(f"The verdict in {error.filename or folder} could not be written: {errno_name(error)}.")


def clear_verdict(folder: Path, files: FileSystem) -> None:
    """Remove old verdicts: a process that is killed must not leave that of its predecessor.

    Raises:
        StorageError: The disk refused, or something else than a file has the name of one.
    """
    for path in filter(None, (folder / VERDICT_FILE, environment.verdict_path())):
        with storage_errors("remove the old verdict", path, "Nothing was removed, and checkpoints are intact."):
            _check_is_file(path)
            remove_tree(files, path)


def _replace(files: FileSystem, path: Path, text: bytes, writer: int | None = None) -> None:
    _check_is_file(path)
    replace_unsynced(files, path, text, writer)


def _check_is_file(path: Path) -> None:
    """A verdict takes the place of a file: not of a folder and what is in it, nor of a device such as /dev/null."""
    try:
        kind = os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return
    if not stat.S_ISREG(kind):
        number = errno.EISDIR if stat.S_ISDIR(kind) else errno.ENXIO
        raise OSError(number, os.strerror(number), str(path))
