"""Fetch: a parked checkpoint appears in the run folder of this machine, verified, by one rename."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from latentwire.parking.place import Place, difference
from latentwire.parking.pointer import ParkingError, Pointer
from latentwire.parking.store import Store
from latentwire.parking.workplace import locked, workplace
from unbroken.checkpoint import store as checkpoints
from unbroken.checkpoint.store import Checkpoint, CheckpointStore
from unbroken.errors import CheckpointError, IdentityError, storage_errors
from unbroken.filesystem import FileSystem, read_file, replace_file, sync_folder
from unbroken.run import CHECKPOINTS_FOLDER
from unbroken.run_folder import events, journal
from unbroken.run_folder import identity as identities
from unbroken.run_folder.identity import Identity, open_run_folder

_RECORDS = (identities.IDENTITY_FILE, events.EVENTS_FILE)


class NothingParkedError(ParkingError):
    """The remote has nothing of an item."""


@dataclass(frozen=True)
class Fetched:
    """What became of a fetch."""

    step: int
    """The newest step that is here now."""
    new: bool
    """False where this machine had that step, or a later one, already."""


def fetch(place: Place, store: Store, report: Callable[[str], None]) -> Fetched:
    """Bring the newest parked version that is whole, unless this machine has gone further.

    Raises:
        NothingParkedError: Nothing of the item is parked.
        IdentityError: What is parked was made with other parameters, data or code.
        ParkingError: What is parked is damaged or incomplete.
        LockedError: The item is being trained here.
        StorageError: The disk refused.
    """
    versions = store.pointers(place.run)
    if not versions:
        raise _nothing(place, store)
    damaged: list[str] = []
    with workplace(place.state, place.run) as work:
        for number, pointer in enumerate(versions):
            try:
                return _bring(place, store, pointer, work / str(number), report)
            except (ParkingError, CheckpointError) as error:
                damaged.append(f"{pointer.name}: {error}")
                report(f"The parked step {pointer.step} of {place.item} is not used. {error}")
    raise ParkingError(f"No parked version of {place.item} is whole; nothing was changed. {damaged[0]}")


def _bring(place: Place, store: Store, pointer: Pointer, work: Path, report: Callable[[str], None]) -> Fetched:
    listing = store.listing(pointer)
    name = f"step-{pointer.step:08d}"
    wanted = [f"{CHECKPOINTS_FOLDER}/{name}/{file}" for file in checkpoints.CHECKPOINT_FILES]
    if set(listing) != {*_RECORDS, *wanted}:
        raise ParkingError(f"The parked step {pointer.step} of {place.item} has other files than a checkpoint has.")
    (work / CHECKPOINTS_FOLDER / name).mkdir(parents=True)
    _download(store, listing, _RECORDS, work)
    if Identity.read(work / identities.IDENTITY_FILE) != place.identity:
        raise ParkingError(f"The parked step {pointer.step} of {place.item} has not the identity that it is under.")
    if _merged_where_newer(place, pointer.step, work):
        return Fetched(_newest_here(place), new=False)
    _download(store, listing, wanted, work)
    arrived = CheckpointStore(work / CHECKPOINTS_FOLDER).load(pointer.step, place.identity.digest, keep=False)
    with locked(open_run_folder(place.state, place.item, place.identity, report), patience=0):
        identities.check_or_write_identity(place.folder, place.identity, FileSystem(), report)
        _merge_events(place.folder / events.EVENTS_FILE, (work / events.EVENTS_FILE).read_bytes())
        _put(place, arrived)
    return Fetched(pointer.step, new=True)


def _download(store: Store, listing: Mapping[str, str], names: Iterable[str], work: Path) -> None:
    for name in names:
        store.download(listing[name], work / name)
        with storage_errors("make the download durable", work / name, "Nothing was changed."):
            descriptor = os.open(work / name, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


def _merged_where_newer(place: Place, step: int, work: Path) -> bool:
    """Whether this machine has the step or a later one; its execution record is completed then."""
    if not place.folder.is_dir():
        return False
    with locked(place.folder, patience=0):
        newer = _newest_here(place) >= step
        if newer:
            _merge_events(place.folder / events.EVENTS_FILE, (work / events.EVENTS_FILE).read_bytes())
        return newer


def _newest_here(place: Place) -> int:
    """The newest step of this machine that is whole; 0 where there is none."""
    for path in place.newest_first():
        try:
            return checkpoints.load_checkpoint(path).step
        except CheckpointError:
            continue  # the next start sets it aside and says so
    return 0


def _put(place: Place, arrived: Checkpoint) -> None:
    files, target = FileSystem(), place.checkpoints / arrived.path.name
    with storage_errors("place the checkpoint", target, "Older checkpoints are intact."):
        target.parent.mkdir(exist_ok=True)
        sync_folder(files, arrived.path)
        if target.exists():
            files.rename(target, _free_name(target))
        files.rename(arrived.path, target)
        sync_folder(files, target.parent)
        # Only what `status` shows: a start restores the history from its checkpoint in any case.
        replace_file(files, place.folder / journal.JOURNAL_FILE, arrived.journal)


def _free_name(target: Path) -> Path:
    """A name for the damaged checkpoint that a good one replaces."""
    names = (target.with_name(f"bad-{target.name}-replaced-{count}") for count in range(1, 1000))
    return next(name for name in names if not name.exists())


def _merge_events(path: Path, parked: bytes) -> None:
    """Append what this machine has not recorded, so that starts are counted over all machines."""
    files = FileSystem()
    with storage_errors("add to the execution record", path, "It is as it was."):
        here = read_file(files, path) if path.exists() else b""
        known = set(here.splitlines())
        new = [line for line in parked.splitlines() if line not in known]
        if new:
            ended = b"" if not here or here.endswith(b"\n") else b"\n"
            replace_file(files, path, here + ended + b"".join(line + b"\n" for line in new))


def _nothing(place: Place, store: Store) -> Exception:
    for run in store.runs():
        other = run != place.run and run.removeprefix(f"{place.item}-") == run[-12:]
        for pointer in store.pointers(run)[:1] if other else ():
            return IdentityError(
                f"What the DVC remote {store.name} has of {place.item} belongs to {run}, but here it is {place.run}: "
                f"{_what_differs(place, store, pointer)}. Nothing was fetched. To go on: restore what differs, such "
                f"as by `git checkout` of the commit that it was parked at, or train afresh."
            )
    return NothingParkedError(
        f"The DVC remote {store.name} has nothing of {place.item} (no {place.run}). "
        f"Next: `latentwire park {place.item}` on the machine that has its state."
    )


def _what_differs(place: Place, store: Store, pointer: Pointer) -> str:
    with workplace(place.state, place.run) as work:
        try:
            store.download(store.listing(pointer)[identities.IDENTITY_FILE], work / identities.IDENTITY_FILE)
        except (ParkingError, KeyError):
            return "what differs is unknown, as its identity cannot be read"
        parked = Identity.read(work / identities.IDENTITY_FILE)
    return difference(parked, place.identity) if parked else "what differs is unknown, as its identity is damaged"
