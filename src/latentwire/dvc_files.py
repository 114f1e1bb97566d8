"""`python -m latentwire.dvc_files`: what has to be right before DVC starts: its own files, and its list of local files.

DVC writes `dvc.lock` and `.dvc/tmp/rwlock` in place. Killed at that instant it leaves an empty or cut file, and no
later `dvc repro` starts; nor does one after a power cut that damaged the databases in which DVC keeps digests. That is
mended, unless another DVC works here; then `make repro` ends with a sentence. Then the local files that params.yaml
names are listed in `dvc.yaml`, so that DVC sees it when one of them changes, and params.yaml has to have what it
names.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
from dvc.fs import LocalFileSystem
from dvc.ignore import DvcIgnoreFilter
from dvc.lock import LockError, make_lock
from dvc.rwlock import RWLOCK_FILE, RWLOCK_LOCK, SCHEMA
from dvc.schema import COMPILED_LOCKFILE_SCHEMA
from voluptuous import Invalid

from latentwire import git
from latentwire.errors import ConfigurationError, LatentWireError
from latentwire.exits import run_program
from latentwire.local_inputs import PIPELINE, list_local_inputs, write_local_inputs
from latentwire.lock_copy import COPY, LOCK, keep_lock_copy
from latentwire.output_files import replace_file
from latentwire.params.load import AnyParams, load_any_params, read_parameters
from latentwire.verification.lockfile import find_parameter
from latentwire.yaml_files import parse_yaml, read_yaml
from unbroken.errors import shorten_text

TEMPORARY = Path(".dvc/tmp")
DATABASES = Path(".cache/dvc")
PARAMS = "params.yaml"
_INTERPOLATED = re.compile(r"(?<!\\)\$\{\s*([^{}]+?)\s*\}")
_OWN_NAMES = ("item", "key")
"""What DVC itself gives a stage that it makes from a matrix or a list."""
_CLOCK_S = 1.0  # a process may have started so long after a file was written, by the granularity of clocks, and own it


def mend_dvc_files(root: Path) -> list[str]:
    """Mend DVC's files; return a sentence for each change.

    Raises:
        ConfigurationError: Git has not finished a merge of `dvc.lock`.
    """
    temporary = root / TEMPORARY
    if not temporary.parent.is_dir():
        return []
    temporary.mkdir(exist_ok=True)  # somebody may have removed it, to be rid of a lock
    try:
        with make_lock(str(temporary / "lock"), tmp_dir=str(temporary)):
            said = [*_mend_lock_file(root), *_mend_databases(root)]
        with make_lock(str(temporary / RWLOCK_LOCK), tmp_dir=str(temporary)):
            return [*said, *_mend_rwlock(temporary / RWLOCK_FILE)]
    except LockError:
        return []  # another DVC works here: what looks cut may be half-way through


def _mend_lock_file(root: Path) -> Iterator[str]:
    path = root / LOCK
    if not path.exists() or _is_whole(path.read_bytes()):
        keep_lock_copy(root)
        return
    _check_not_in_conflict(path)
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


def _check_not_in_conflict(path: Path) -> None:
    """A merge that is not finished holds two truths, of which only its owner knows the right one."""
    if re.search(rb"^(<<<<<<<|>>>>>>>) ", path.read_bytes(), re.MULTILINE):
        raise ConfigurationError(
            f"{path} has the marks of a git merge that is not finished; expected what DVC writes. Nothing was changed. "
            f"Next: `git checkout --ours {LOCK}` (or --theirs) and `git add {LOCK}`; stages that are not in it are "
            "found again in DVC's run cache."
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


def _mend_databases(root: Path) -> Iterator[str]:
    for path in sorted((root / DATABASES).rglob("cache.db")):
        if _is_damaged(path):
            shutil.rmtree(path.parent)
            yield f"{path.relative_to(root)} was damaged, as by a power cut, and is removed. DVC hashes its files anew."


def _is_damaged(path: Path) -> bool:
    try:
        with closing(sqlite3.connect(path, timeout=5)) as connection:
            return bool(connection.execute("pragma quick_check(1)").fetchone() != ("ok",))
    except sqlite3.OperationalError:
        return False  # somebody has it open, or it cannot be read now
    except sqlite3.DatabaseError:
        return True


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
    """Note the process that wrote its number, if it is gone."""
    if not _is_alive(owner, written):
        dead.add(owner["pid"])
    return owner["pid"] in dead


def _is_alive(owner: dict[str, Any], written: float) -> bool:
    """Whether a process is the one that wrote its number; after a reboot that number is somebody else's.

    A clock that was set forward makes every process seem younger than what it wrote: so its command counts too.
    """
    try:
        process = psutil.Process(owner["pid"])
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        same_command = owner["cmd"] != "" and " ".join(process.cmdline()).endswith(owner["cmd"])
        return same_command or process.create_time() <= written + _CLOCK_S
    except psutil.AccessDenied:
        return True  # somebody is there, and nobody knows that it is another one
    except (psutil.NoSuchProcess, ValueError, OverflowError):  # there are no such numbers, as of another system
        return False


def check_no_other_dvc(root: Path) -> None:
    """Check that no other DVC works in a repository, before one is started: it would say to remove a lock that is held.

    Raises:
        LatentWireError: One does.
    """
    temporary = root / TEMPORARY
    if not temporary.is_dir():
        return
    try:
        with make_lock(str(temporary / "lock"), tmp_dir=str(temporary)):
            owner = _find_living_owner(temporary / RWLOCK_FILE)
    except LockError:
        raise _other_dvc(root, "", "it has ended") from None  # between two stages, where no file says which process
    if owner is not None:
        number = owner["pid"]
        raise _other_dvc(root, f", process {number} (`{shorten_text(owner['cmd'])}`),", f"`ps -p {number}` shows none")


def _other_dvc(root: Path, which: str, ended: str) -> LatentWireError:
    return LatentWireError(
        f"Another DVC{which} works in {root.resolve()}, such as that of another `make repro`; expected none, since "
        f"both would write the same results. Nothing was started. Next: wait until {ended}, then run the same command "
        "again."
    )


def _find_living_owner(path: Path) -> dict[str, Any] | None:
    try:
        held, written = SCHEMA(json.loads(path.read_bytes())), path.stat().st_mtime
    except (FileNotFoundError, ValueError, Invalid):
        return None  # it is not there, or just being written
    owners = [*held["write"].values(), *(owner for owners in held["read"].values() for owner in owners)]
    return next((owner for owner in owners if _is_alive(owner, written)), None)


def list_inputs(root: Path) -> list[str]:
    """List in dvc.yaml the local files that params.yaml names; return a sentence if that changed it.

    Raises:
        ConfigurationError: The parameters are wrong, lack a key that dvc.yaml names, a file is not there, or DVC would
            look past it.
    """
    parameters = root / PARAMS
    if not ((root / PIPELINE).is_file() and parameters.is_file()):
        return []
    values = load_any_params(parameters)
    check_named_keys(values, root)
    said = write_local_inputs(values, root)
    _check_not_ignored(root, [root / name for name in list_local_inputs(values, root)])
    return said


def check_named_keys(values: AnyParams, root: Path) -> None:
    """Check that params.yaml has every key that dvc.yaml names, also those that may be left out for their default.

    Without what it interpolates DVC starts nothing at all, and without a key below `params` not the stage.

    Raises:
        ConfigurationError: One is not there.
    """
    written = read_parameters(root / PARAMS)
    for stage, key, is_list in _named_keys(read_yaml(root / PIPELINE)):
        if not _has(written, key):
            default = find_parameter(values.model_dump(mode="json", by_alias=True), key)
            what = "a list, [] for none" if is_list else "a value" if default is None else f"{default}, its default"
            raise ConfigurationError(
                f"{PARAMS} has no `{key}`, which {PIPELINE} names in the stage {stage}; expected {what}: DVC "
                f"starts no stage without. Next: write it, or take what names it out of {PIPELINE}."
            )


def _named_keys(pipeline: Any) -> Iterator[tuple[str, str, bool]]:
    """Stage, key of params.yaml that it names, and whether its matrix does; none where other files have values, too."""
    if not isinstance(pipeline, Mapping) or pipeline.get("vars") not in (None, [PARAMS]):
        return
    stages = pipeline.get("stages")
    for stage, fields in stages.items() if isinstance(stages, Mapping) else ():
        if not isinstance(fields, Mapping) or "vars" in fields:
            continue
        matrix = list(_list_texts(fields.get("matrix")))
        for text in _list_texts(fields):
            yield from ((stage, key, text in matrix) for key in _interpolated_keys(text))
        params = [key for key in fields.get("params") or () if isinstance(key, str)]
        yield from ((stage, key, False) for key in params if not _INTERPOLATED.search(key))


def _interpolated_keys(text: str) -> list[str]:
    keys = [found.replace("[", ".").replace("]", "") for found in _INTERPOLATED.findall(text)]
    return [key for key in keys if key.partition(".")[0] not in _OWN_NAMES]


def _list_texts(values: Any) -> Iterator[str]:
    if isinstance(values, str):
        yield values
    elif isinstance(values, Mapping | list):
        for value in values.values() if isinstance(values, Mapping) else values:
            yield from _list_texts(value)


def _has(written: Any, key: str) -> bool:
    for part in key.split("."):
        if isinstance(written, Mapping) and part in written:
            written = written[part]
        elif isinstance(written, list) and part.isdecimal() and int(part) < len(written):
            written = written[int(part)]
        else:
            return False
    return True


def _check_not_ignored(root: Path, paths: Iterable[Path]) -> None:
    """DVC hashes a file that `.dvcignore` names, but of a folder only what is not ignored: perhaps nothing."""
    folders = [path for path in paths if path.is_dir()]
    ignore = DvcIgnoreFilter(LocalFileSystem(), str(root.resolve())) if folders else None
    for path in (file for folder in folders for file in folder.iterdir() if file.is_file()):
        if ignore is not None and ignore.is_ignored_file(str(path.absolute())):
            raise ConfigurationError(
                f"DVC would not see a change of {path}, because a .dvcignore covers it; expected every file of a local "
                "model to be hashed. Next: move the model elsewhere, or take the line out of .dvcignore."
            )


def main(argv: Sequence[str] | None = None) -> None:
    """Mend the repository in the current folder, list its local files, and say what was done."""
    parser = argparse.ArgumentParser(
        prog="python -m latentwire.dvc_files",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--mend-only", action="store_true", help="leave dvc.yaml as it is, as a job has to, and let another DVC work"
    )
    chosen = parser.parse_args(argv)
    for sentence in mend_dvc_files(Path()):
        print(f"note: {sentence}")
    if not chosen.mend_only:
        check_no_other_dvc(Path())
    for sentence in [] if chosen.mend_only else list_inputs(Path()):
        print(f"note: {sentence}")


if __name__ == "__main__":
    raise SystemExit(run_program(main))
