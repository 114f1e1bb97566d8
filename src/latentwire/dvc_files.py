"""`python -m latentwire.dvc_files`: mend what a kill left of the two files that DVC does not write atomically.

DVC writes `dvc.lock` and `.dvc/tmp/rwlock` in place. Killed at that instant it leaves an empty or cut file, and no
later `dvc repro` starts. Run it before DVC; it changes nothing while another DVC works here, and nothing that is whole.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil
from dvc.lock import LockError, make_lock
from dvc.rwlock import RWLOCK_FILE, RWLOCK_LOCK, SCHEMA
from dvc.schema import COMPILED_LOCKFILE_SCHEMA
from voluptuous import Invalid

from latentwire import git
from latentwire.errors import ConfigurationError
from latentwire.exits import run_program
from latentwire.lock_copy import COPY, LOCK, keep_lock_copy
from latentwire.output_files import replace_file
from latentwire.yaml_files import parse_yaml

TEMPORARY = Path(".dvc/tmp")
_CLOCK_S = 1.0  # a process may have started so long after a file was written, by the granularity of clocks, and own it


def mend_dvc_files(root: Path) -> list[str]:
    """Mend both files; return a sentence for each change."""
    temporary = root / TEMPORARY
    if not temporary.is_dir():
        return []
    try:
        with make_lock(str(temporary / "lock"), tmp_dir=str(temporary)):
            said = [*_mend_lock_file(root)]
        with make_lock(str(temporary / RWLOCK_LOCK), tmp_dir=str(temporary)):
            return [*said, *_mend_rwlock(temporary / RWLOCK_FILE)]
    except LockError:
        return []  # another DVC works here: what looks cut may be half-way through


def _mend_lock_file(root: Path) -> Iterator[str]:
    path = root / LOCK
    if not path.exists() or _is_whole(path.read_bytes()):
        keep_lock_copy(root)
        return
    for data, origin in ((_read(root / COPY), f"its last good copy, {COPY}"), (_committed(root), "HEAD")):
        if data is not None and _is_whole(data):
            with replace_file(path) as partial:
                partial.write_bytes(data)
            yield (
                f"{LOCK} was cut short, as by a kill while DVC wrote it, and is restored from {origin}. Stages that "
                f"are not in it are found again in DVC's run cache."
            )
            return
    broken = path.with_name(f"{LOCK}.broken")
    path.rename(broken)
    yield (
        f"{LOCK} was cut short, as by a kill while DVC wrote it, and there is no good copy. It is kept as "
        f"{broken.name}; stages are found again in DVC's run cache, or run."
    )


def _is_whole(data: bytes) -> bool:
    try:
        COMPILED_LOCKFILE_SCHEMA(parse_yaml(data, LOCK))
    except (ConfigurationError, Invalid):
        return False
    return data.endswith(b"\n")


def _read(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def _committed(root: Path) -> bytes | None:
    return git.read_committed(root, "HEAD", LOCK)


def _mend_rwlock(path: Path) -> Iterator[str]:
    try:
        held = SCHEMA(json.loads(path.read_bytes()))
    except FileNotFoundError:
        return
    except (ValueError, Invalid):
        path.unlink()
        yield f"{path.relative_to(path.parents[2])} was cut short, as by a kill while DVC wrote it, and is removed."
        return
    written, dead = path.stat().st_mtime, set[int]()
    held["write"] = {key: owner for key, owner in held["write"].items() if not _is_dead(owner, written, dead)}
    held["read"] = {key: [o for o in owners if not _is_dead(o, written, dead)] for key, owners in held["read"].items()}
    if dead:
        with replace_file(path) as partial:
            partial.write_text(json.dumps(held), encoding="utf-8")
        numbers = ", ".join(map(str, sorted(dead)))
        yield f"DVC's lock of process {numbers}, which is dead, is removed."


def _is_dead(owner: dict[str, Any], written: float, dead: set[int]) -> bool:
    """Whether the process that wrote its number is gone; after a reboot its number is somebody else's."""
    try:
        process = psutil.Process(owner["pid"])
        alive = process.create_time() <= written + _CLOCK_S and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        alive = False
    if not alive:
        dead.add(owner["pid"])
    return not alive


def main(argv: Sequence[str] | None = None) -> None:
    """Mend the repository in the current folder and say what was done."""
    argparse.ArgumentParser(
        prog="python -m latentwire.dvc_files",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    ).parse_args(argv)
    for sentence in mend_dvc_files(Path()):
        print(f"note: {sentence}")


if __name__ == "__main__":
    raise SystemExit(run_program(main))
