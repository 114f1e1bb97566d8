"""Park: the newest good checkpoint of a run goes to the DVC remote; a training that is under way is not disturbed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from latentwire.git import store_file_in_ref
from latentwire.parking.place import Place, difference, step_of
from latentwire.parking.pointer import FOLDER, ParkingError, Pointer, parse
from latentwire.parking.store import Store
from latentwire.parking.workplace import link, workplace
from unbroken.checkpoint import store as checkpoints
from unbroken.checkpoint.store import CheckpointStore
from unbroken.errors import CheckpointError, storage_errors
from unbroken.filesystem import FileSystem, remove_tree, replace_file
from unbroken.run import CHECKPOINTS_FOLDER
from unbroken.run_folder import events
from unbroken.run_folder import identity as identities
from unbroken.run_folder.identity import Identity

REF = "refs/latentwire/park"
KEEP = 2
"""Versions of a run whose pointers stay in the remote."""


class NothingToParkError(ParkingError):
    """There is no run folder, or no checkpoint in it."""


def park(place: Place, store: Store, keep: int, report: Callable[[str], None]) -> Pointer:
    """Send the newest checkpoint that is whole, with identity and execution record; drop old pointers.

    Raises:
        NothingToParkError: There is none yet.
        ParkingError: None is whole, or the remote does not take it.
        LockedError: Another process parks the same run, for minutes.
        StorageError: The disk refused.
    """
    _check_folder(place)
    with workplace(place.state, place.run) as work:
        pointer = _send(place, store, work, report)
        versions = store.pointers(place.run)
        write_pointer(place.root, versions[0] if versions else pointer, report)
        for old in versions[keep:]:
            store.drop(old)
    return pointer


def write_pointer(root: Path, pointer: Pointer, report: Callable[[str], None]) -> None:
    """Write `checkpoints/<item>.dvc` and the git ref. Raises ParkingError where another file has that name."""
    path = root / FOLDER / f"{pointer.item}.dvc"
    if path.exists():
        _check_ours(path)
    with storage_errors("write the pointer", path, "The remote has the checkpoint."):
        path.parent.mkdir(exist_ok=True)
        replace_file(FileSystem(), path, pointer.text())
    if not store_file_in_ref(root, path.relative_to(root), f"{REF}/{pointer.run}"):
        report(f"git did not take the ref {REF}/{pointer.run}; fetching does not need it.")


def _check_ours(path: Path) -> None:
    try:
        parse(path.read_bytes(), str(path))
    except ParkingError as error:
        raise ParkingError(
            f"{error} It is not overwritten; the remote has the checkpoint. Next: move that file away, then the same "
            f"command again."
        ) from error


def _check_folder(place: Place) -> None:
    if Identity.read(place.folder / identities.IDENTITY_FILE) == place.identity:
        return
    others = {
        path.parent: Identity.read(path) for path in place.state.glob(f"{place.item}-*/{identities.IDENTITY_FILE}")
    }
    kept = [
        f" {folder} is of another identity: {difference(found, place.identity)}."
        for folder, found in sorted(others.items())
        if found
    ]
    raise NothingToParkError(
        f"{place.item} has no state in {place.folder}.{''.join(kept)} Next: `dvc repro train@{place.item}`."
    )


def _send(place: Place, store: Store, work: Path, report: Callable[[str], None]) -> Pointer:
    step = _gather(place, work, report)
    files = {str(path.relative_to(work)): path for path in sorted(work.rglob("*")) if path.is_file()}
    recorded = (work / events.EVENTS_FILE).read_bytes().count(b"\n")
    listing, size = store.upload(files, work)
    pointer = Pointer(
        item=place.item,
        identity=place.identity.digest,
        step=step,
        events=recorded,
        listing=listing,
        size=size,
        files=len(files),
    )
    (work / "pointer").write_bytes(pointer.text())
    store.put_pointer(pointer, work / "pointer")
    return pointer


def _gather(place: Place, work: Path, report: Callable[[str], None]) -> int:
    """Put what travels into `work`, laid out as a run folder; returns the step."""
    with storage_errors("gather the checkpoint", work, "The run was not touched."):
        step = _newest_good(place, work, report)
        (work / identities.IDENTITY_FILE).write_bytes(place.identity.text())
        (work / events.EVENTS_FILE).write_bytes(_whole_lines(place.folder / events.EVENTS_FILE))
    return step


def _newest_good(place: Place, work: Path, report: Callable[[str], None]) -> int:
    staged, tried = CheckpointStore(work / CHECKPOINTS_FOLDER), set[Path]()
    # Listed anew after each attempt: a training that is under way adds and removes them meanwhile.
    while fresh := [path for path in place.newest_first() if path not in tried]:
        tried.add(fresh[0])
        try:
            return _staged(fresh[0], staged, place.identity)
        except (FileNotFoundError, CheckpointError) as error:
            report(f"{fresh[0]} is not parked: {error} Another one is tried.")
            remove_tree(FileSystem(), staged.path(step_of(fresh[0])))
    kind, why = (ParkingError, "none is whole") if tried else (NothingToParkError, "there is none yet")
    raise kind(f"No checkpoint of {place.folder} was parked: {why}. Next: `dvc repro train@{place.item}`.")


def _staged(path: Path, staged: CheckpointStore, identity: Identity) -> int:
    step = step_of(path)
    for name in checkpoints.CHECKPOINT_FILES:
        link(path / name, staged.path(step) / name)
    return staged.load(step, identity.digest, keep=False).step


def _whole_lines(path: Path) -> bytes:
    """An execution record without the line that is being written."""
    data = path.read_bytes() if path.exists() else b""
    return data[: data.rfind(b"\n") + 1]
