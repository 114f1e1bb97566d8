"""Fetch: a parked checkpoint appears in the run folder of this machine, verified, by one rename."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from latentwire.parking.pointer import ParkingError, Pointer, RemoteError
from latentwire.parking.run_location import RunLocation, summarize_difference
from latentwire.parking.staging import locked_folder, staging_folder
from latentwire.parking.store import RemoteStore
from unbroken.checkpoint import store as checkpoints
from unbroken.checkpoint.reading import CHECKPOINTS_FOLDER
from unbroken.checkpoint.store import Checkpoint, CheckpointStore
from unbroken.errors import DamagedError, IdentityError, storage_errors
from unbroken.filesystem import FileSystem, read_file, replace_file, sync_folder
from unbroken.run_folder import events, journal
from unbroken.run_folder import identity as identities
from unbroken.run_folder.identity import Identity, open_run_folder

_RECORDS = (identities.IDENTITY_FILE, events.EVENTS_FILE)


class NothingParkedError(ParkingError):
    """The remote has nothing of an item."""


@dataclass(frozen=True)
class FetchResult:
    """What is here after a fetch."""

    step: int
    """The newest step on this machine now."""
    new: bool
    """False if this machine already had that step, or a later one."""


def fetch_checkpoint(location: RunLocation, store: RemoteStore, report: Callable[[str], None]) -> FetchResult:
    """Fetch the newest intact parked version, unless this machine is further along.

    Raises:
        NothingParkedError: Nothing of the item is parked.
        IdentityError: What is parked was made with other parameters, data or code.
        RemoteError: What is parked cannot be read now.
        ParkingError: What is parked is damaged or incomplete.
        CheckpointError: What is parked or here was written by another version of unbroken.
        LockedError: The item is being trained here.
        StorageError: The disk refused.
    """
    versions = store.pointers(location.run)
    if not versions:
        raise _nothing_parked(location, store)
    damaged: list[str] = []
    with staging_folder(location.state, location.run) as work:
        for number, pointer in enumerate(versions):
            try:
                with storage_errors("fetch the parked step", location.folder, "Checkpoints in it are intact."):
                    return _fetch_version(location, store, pointer, work / str(number), report)
            except RemoteError:
                raise  # an older version in its place would be steps lost
            except (ParkingError, DamagedError) as error:
                damaged.append(f"{pointer.name}: {error}")
                report(f"The parked step {pointer.step} of {location.item} is not used. {error}")
    raise ParkingError(f"No parked version of {location.item} is whole; nothing was changed. {damaged[0]}")


def _fetch_version(
    location: RunLocation, store: RemoteStore, pointer: Pointer, work: Path, report: Callable[[str], None]
) -> FetchResult:
    listing = store.listing(pointer)
    name = f"step-{pointer.step:08d}"
    wanted = [f"{CHECKPOINTS_FOLDER}/{name}/{file}" for file in checkpoints.CHECKPOINT_FILES]
    if set(listing) != {*_RECORDS, *wanted}:
        raise ParkingError(f"The parked step {pointer.step} of {location.item} has other files than a checkpoint has.")
    (work / CHECKPOINTS_FOLDER / name).mkdir(parents=True)
    _download(store, listing, _RECORDS, work)
    if Identity.read(work / identities.IDENTITY_FILE) != location.identity:
        raise ParkingError(f"The parked step {pointer.step} of {location.item} has not the identity that it is under.")
    if _merged_where_newer(location, pointer.step, work):
        return FetchResult(_newest_here(location), new=False)
    _download(store, listing, wanted, work)
    arrived = CheckpointStore(work / CHECKPOINTS_FOLDER).load(pointer.step, location.identity.digest, keep=False)
    with locked_folder(open_run_folder(location.state, location.item, location.identity, report), timeout=0):
        identities.check_or_write_identity(location.folder, location.identity, FileSystem(), report)
        _merge_events(location.folder / events.EVENTS_FILE, (work / events.EVENTS_FILE).read_bytes())
        _place_checkpoint(location, arrived)
    return FetchResult(pointer.step, new=True)


def _download(store: RemoteStore, listing: Mapping[str, str], names: Iterable[str], work: Path) -> None:
    for name in names:
        store.download(listing[name], work / name)
        with storage_errors("make the download durable", work / name, "Nothing was changed."):
            descriptor = os.open(work / name, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


def _merged_where_newer(location: RunLocation, step: int, work: Path) -> bool:
    """Whether this machine has the step or a later one; if so, its execution record is completed."""
    if not location.folder.is_dir():
        return False
    with locked_folder(location.folder, timeout=0):
        newer = _newest_here(location) >= step
        if newer:
            _merge_events(location.folder / events.EVENTS_FILE, (work / events.EVENTS_FILE).read_bytes())
        return newer


def _newest_here(location: RunLocation) -> int:
    """The newest intact step on this machine; 0 if there is none."""
    for path in location.newest_first():
        try:
            return checkpoints.load_checkpoint(path).step
        except DamagedError:
            continue  # the next start sets it aside and says so
    return 0


def _place_checkpoint(location: RunLocation, arrived: Checkpoint) -> None:
    files, target = FileSystem(), location.checkpoints / arrived.path.name
    with storage_errors("place the checkpoint", target, "Older checkpoints are intact."):
        target.parent.mkdir(exist_ok=True)
        history = b"".join(arrived.journal.chunks())
        sync_folder(files, arrived.path)
        if target.exists():
            files.rename(target, _free_name(target))
        files.rename(arrived.path, target)
        sync_folder(files, target.parent)
        # Only what `status` shows: a start restores the history from its checkpoint in any case.
        replace_file(files, location.folder / journal.JOURNAL_FILE, history)


def _free_name(target: Path) -> Path:
    """A name for the damaged checkpoint that a good one replaces."""
    names = (target.with_name(f"bad-{target.name}-replaced-{count}") for count in range(1, 1000))
    return next(name for name in names if not name.exists())


def _merge_events(path: Path, parked: bytes) -> None:
    """Append what this machine has not recorded, so that starts are counted over all machines."""
    files = FileSystem()
    with storage_errors("add to the execution record", path, "It is as it was."):
        try:
            here = read_file(files, path)
        except FileNotFoundError:
            here = b""
        known = set(here.splitlines())
        new = [line for line in parked.splitlines() if line not in known]
        if new:
            ended = b"" if not here or here.endswith(b"\n") else b"\n"
            replace_file(files, path, here + ended + b"".join(line + b"\n" for line in new))


def _nothing_parked(location: RunLocation, store: RemoteStore) -> Exception:
    for run in store.runs():
        other = run != location.run and run.removeprefix(f"{location.item}-") == run[-12:]
        for pointer in store.pointers(run)[:1] if other else ():
            return IdentityError(
                f"What the DVC remote {store.name} has of {location.item} belongs to {run}, but here it is "
                f"{location.run}: {_what_differs(location, store, pointer)}. Nothing was fetched. Next: restore what "
                f"differs, such as by `git checkout` of the commit that it was parked at, or train afresh."
            )
    return NothingParkedError(
        f"The DVC remote {store.name} has nothing of {location.item} (no {location.run}). "
        f"Next: `latentwire park {location.item}` on the machine that has its state."
    )


def _what_differs(location: RunLocation, store: RemoteStore, pointer: Pointer) -> str:
    with staging_folder(location.state, location.run) as work:
        try:
            store.download(store.listing(pointer)[identities.IDENTITY_FILE], work / identities.IDENTITY_FILE)
        except (ParkingError, KeyError):
            return "what differs is unknown, as its identity cannot be read"
        parked = Identity.read(work / identities.IDENTITY_FILE)
    if parked is None:
        return "what differs is unknown, as its identity is damaged"
    return summarize_difference(parked, location.identity)
