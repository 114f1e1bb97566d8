"""Compares every other file that a program writes: what it saves beside the checkpoints is a result too."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fnmatch import fnmatch
from itertools import zip_longest
from pathlib import Path

from unbroken.prove.drill import CENSUS_FILE, TRACE_FILE
from unbroken.run_folder.events import EVENTS_FILE
from unbroken.run_folder.lock import LOCK_FILE
from unbroken.run_folder.verdict import VERDICT_FILE

EXECUTION_FILES = frozenset({EVENTS_FILE, LOCK_FILE, VERDICT_FILE, TRACE_FILE, CENSUS_FILE})
"""What unbroken itself writes about the execution, in the folder of a run; the rest of it is the result."""

_CHECKPOINTS = "checkpoints"
_CHUNK = 1 << 20


def compare_outputs(reference: Path, run: Path, ignored: Sequence[str] = ()) -> tuple[int, list[str]]:
    """How many files were compared below two folders, and those that are not the same in both, by name.

    `checkpoints` of a run and what is in `EXECUTION_FILES` are left out, and what matches a pattern of `ignored`.

    Raises:
        OSError: A file cannot be read.
    """
    first, second = _list_outputs(reference), _list_outputs(run)
    names = [name for name in sorted({*first, *second}) if not any(fnmatch(name, pattern) for pattern in ignored)]
    found = [(name, _describe_file_difference(first.get(name), second.get(name))) for name in names]
    return len(names), [f"file {name}{difference}" for name, difference in found if difference]


def _list_outputs(root: Path) -> dict[str, Path]:
    files = [path for path in root.rglob("*") if path.is_file()]
    homes = {path.parent for path in files if path.name == LOCK_FILE and path.with_name(_CHECKPOINTS).is_dir()}
    return {str(path.relative_to(root)): path for path in files if not _is_about_execution(path, homes)}


def _is_about_execution(path: Path, homes: set[Path]) -> bool:
    if path.parent in homes:
        # A kill leaves a half-written file of ours under its temporary name.
        return path.name in EXECUTION_FILES or path.name.startswith(".tmp-")
    return any(parent.name == _CHECKPOINTS and parent.parent in homes for parent in path.parents)


def _describe_file_difference(first: Path | None, second: Path | None) -> str:
    if first is None or second is None:
        return f", which only the {'undisturbed' if second is None else 'interrupted'} run has"
    at = _first_differing_byte(first, second)
    return "" if at is None else f", from byte {at}"


def _first_differing_byte(first: Path, second: Path) -> int | None:
    start = 0
    for before, after in zip_longest(_read_chunks(first), _read_chunks(second), fillvalue=b""):
        if before != after:
            pairs = zip(before, after, strict=False)
            return start + next((at for at, (a, b) in enumerate(pairs) if a != b), min(len(before), len(after)))
        start += len(before)
    return None


def _read_chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            yield chunk
