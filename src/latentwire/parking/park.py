"""Park: the newest good checkpoint of a run goes to the DVC remote; a training that is under way is not disturbed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from latentwire.git import store_file_in_ref
from latentwire.parking.pointer import FOLDER, ParkingError, Pointer, parse_pointer
from latentwire.parking.run_location import RunLocation, step_of, summarize_difference
from latentwire.parking.staging import link_or_copy, staging_folder
from latentwire.parking.store import RemoteStore
from unbroken.checkpoint import store as checkpoints
from unbroken.checkpoint.manifest import MANIFEST_FILE
from unbroken.checkpoint.reading import CHECKPOINTS_FOLDER, find_history, read_manifest
from unbroken.checkpoint.store import CheckpointStore
from unbroken.errors import DamagedError, storage_errors
from unbroken.filesystem import FileSystem, remove_tree, replace_file, write_durably
from unbroken.run_folder import events
from unbroken.run_folder import identity as identities
from unbroken.run_folder.identity import Identity
from unbroken.run_folder.journal import JOURNAL_FILE

REF = "refs/latentwire/park"


class NothingToParkError(ParkingError):
    """There is no run folder, or no checkpoint in it."""


def park_checkpoint(location: RunLocation, store: RemoteStore, keep: int, report: Callable[[str], None]) -> Pointer:
    """Send the newest intact checkpoint with its identity and execution record; drop old pointers.

    Raises:
        NothingToParkError: There is none yet.
        ParkingError: None is whole, or the remote does not take it.
        CheckpointError: Another version of unbroken wrote the newest.
        LockedError: Another process parks the same run, for minutes.
        StorageError: The disk refused.
    """
    _check_folder(location)
    with staging_folder(location.state, location.run) as work:
        pointer = _send(location, store, work, report)
        versions = store.pointers(location.run)
        write_pointer(location.root, versions[0] if versions else pointer, report)
        for old in versions[keep:]:
            store.drop(old)
    return pointer


def write_pointer(root: Path, pointer: Pointer, report: Callable[[str], None]) -> None:
    """Write `checkpoints/<item>.dvc` and the git ref.

    Raises:
        ParkingError: Another file has that name.
        StorageError: The disk refused.
    """
    path = root / FOLDER / f"{pointer.item}.dvc"
    _check_ours(path)
    with storage_errors("write the pointer", path, "The remote has the checkpoint."):
        path.parent.mkdir(exist_ok=True)
        replace_file(FileSystem(), path, pointer.text())
    if not store_file_in_ref(root, path.relative_to(root), f"{REF}/{pointer.run}"):
        report(f"git did not take the ref {REF}/{pointer.run}; fetching does not need it.")


def _check_ours(path: Path) -> None:
    try:
        with storage_errors("read the pointer", path, "It is not overwritten; the remote has the checkpoint."):
            data = path.read_bytes() if path.exists() else None
        if data is not None:
            parse_pointer(data, str(path))
    except ParkingError as error:
        raise ParkingError(
            f"{error} It is not overwritten; the remote has the checkpoint. Next: move that file away, then the same "
            f"command again."
        ) from error


def _check_folder(location: RunLocation) -> None:
    with storage_errors("read the identity of the run", location.folder, "The run was not touched."):
        if Identity.read(location.folder / identities.IDENTITY_FILE) == location.identity:
            return
    with storage_errors("read the identities of other runs", location.state, "Nothing was touched."):
        others = {
            path.parent: Identity.read(path)
            for path in location.state.glob(f"{location.item}-*/{identities.IDENTITY_FILE}")
        }
    kept = [
        f" {folder} is of another identity: {summarize_difference(other, location.identity)}."
        for folder, other in sorted(others.items())
        if other
    ]
    raise NothingToParkError(
        f"{location.item} has no state in {location.folder}.{''.join(kept)} Next: `dvc repro {location.stage}`."
    )


def _send(location: RunLocation, store: RemoteStore, work: Path, report: Callable[[str], None]) -> Pointer:
    step = _gather(location, work, report)
    files = {str(path.relative_to(work)): path for path in sorted(work.rglob("*")) if path.is_file()}
    recorded = (work / events.EVENTS_FILE).read_bytes().count(b"\n")
    listing, size = store.upload(files, work)
    pointer = Pointer(
        item=location.item,
        identity=location.identity.digest,
        step=step,
        events=recorded,
        listing=listing,
        size=size,
        files=len(files),
    )
    (work / "pointer").write_bytes(pointer.text())
    store.put_pointer(pointer, work / "pointer")
    return pointer


def _gather(location: RunLocation, work: Path, report: Callable[[str], None]) -> int:
    """Put what travels into `work`, laid out like a run folder; return the step."""
    with storage_errors("gather the checkpoint", work, "The run was not touched."):
        step = _newest_good(location, work, report)
        (work / identities.IDENTITY_FILE).write_bytes(location.identity.text())
        (work / events.EVENTS_FILE).write_bytes(_whole_lines(location.folder / events.EVENTS_FILE))
    return step


def _newest_good(location: RunLocation, work: Path, report: Callable[[str], None]) -> int:
    staged, tried = CheckpointStore(work / CHECKPOINTS_FOLDER), set[Path]()
    # Listed anew after each attempt: a training that is under way adds and removes them meanwhile.
    while fresh := [path for path in location.newest_first() if path not in tried]:
        tried.add(fresh[0])
        try:
            return _staged(fresh[0], staged, location.identity)
        except (FileNotFoundError, DamagedError) as error:
            report(f"{fresh[0]} is not parked: {error} Another one is tried.")
            remove_tree(FileSystem(), staged.path(step_of(fresh[0])))
    kind, why = (ParkingError, "none is whole") if tried else (NothingToParkError, "there is none yet")
    raise kind(f"No checkpoint of {location.folder} was parked: {why}. Next: `dvc repro {location.stage}`.")


def _staged(path: Path, staged: CheckpointStore, identity: Identity) -> int:
    step = step_of(path)
    for name in (MANIFEST_FILE, checkpoints.TENSORS_FILE):
        link_or_copy(path / name, staged.path(step) / name)
    history = find_history(FileSystem(), path, read_manifest(FileSystem(), path))
    write_durably(FileSystem(), staged.path(step) / JOURNAL_FILE, history.size, history.chunks())
    return staged.load(step, identity.digest, keep=False).step


def _whole_lines(path: Path) -> bytes:
    """An execution record without the line that is being written."""
    data = path.read_bytes() if path.exists() else b""
    return data[: data.rfind(b"\n") + 1]
