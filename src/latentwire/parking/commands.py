"""`latentwire park` and `latentwire fetch`: which items, what is printed, exit codes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from latentwire.console.logging import configure_logging
from latentwire.console.tables import make_table, print_table
from latentwire.errors import ConfigurationError, LatentWireError
from latentwire.identities import find_identities, identity_of
from latentwire.item import TrainItem
from latentwire.params.load import AnyParams, check_choice, load_any_params
from latentwire.parking.fetch import NothingParkedError, fetch_checkpoint
from latentwire.parking.park import REF, NothingToParkError, park_checkpoint, write_pointer
from latentwire.parking.pointer import FOLDER
from latentwire.parking.run_location import RunLocation
from latentwire.parking.store import RemoteStore, open_store
from latentwire.sizes import format_bytes
from unbroken.checkpoint.reading import CHECKPOINTS_FOLDER
from unbroken.errors import UnbrokenError
from unbroken.standard_streams import print_sentence


def park_items(
    root: Path, names: Sequence[str], everything: bool, optional: bool, keep: int, remote: str | None
) -> int:
    """Park items and print where; return the exit code."""

    def park_item(location: RunLocation, store: RemoteStore) -> str:
        pointer = park_checkpoint(location, store, keep, _print_progress)
        return (
            f"{location.item}: step {pointer.step} is parked in {store.name} ({format_bytes(pointer.size)}, "
            f"{FOLDER}/{location.item}.dvc, {REF}/{location.run})"
        )

    return _each(root, names, everything, optional, remote, park_item)


def fetch_items(
    root: Path, names: Sequence[str], everything: bool, optional: bool, pointers: bool, remote: str | None
) -> int:
    """Fetch items, or only their pointers, and print what is here now; return the exit code."""

    def fetch_item(location: RunLocation, store: RemoteStore) -> str:
        if pointers:
            return _pointer_only(location, store)
        fetched = fetch_checkpoint(location, store, _print_progress)
        if not fetched.new:
            return f"{location.item}: step {fetched.step} is here already, nothing newer is parked"
        return (
            f"{location.item}: step {fetched.step} fetched to {location.folder}, `dvc repro {location.stage}` goes on"
        )

    return _each(root, names, everything, optional, remote, fetch_item)


def list_parked(root: Path, remote: str | None) -> int:
    """Print a row for each parked version in the remote; return the exit code."""
    _configure_dvc_logging()
    here = _identities(root)
    rows = []
    with open_store(root, remote, _print_progress) as store:
        for run in store.runs():
            for pointer in store.pointers(run):
                ours = here.get(pointer.item)
                same = "unknown, `prepare` and `encode` did not run here" if ours is None else _yes_or_no(ours == run)
                rows.append((pointer.item, run[-12:], str(pointer.step), format_bytes(pointer.size), same))
    if rows:
        headers = ("item", "identity", "step", "size", "parked by this code, these params and data")
        print_table(make_table(headers, rows, names=2))
    else:
        print(f"Nothing is parked in the DVC remote {store.name}.")
    return 0


def _each(
    root: Path,
    names: Sequence[str],
    everything: bool,
    optional: bool,
    remote: str | None,
    action: Callable[[RunLocation, RemoteStore], str],
) -> int:
    """Do it for every item, also after one has failed; return the exit code of the first error."""
    _configure_dvc_logging()
    values = load_any_params(root / "params.yaml")
    locations = _locate(root, values, _items(values, names, everything), optional)
    if not locations:
        return 0  # and a remote need not be there yet
    codes = []
    with open_store(root, remote, _print_progress) as store:
        for location in locations:
            try:
                print(action(location, store), flush=True)
            except (NothingToParkError, NothingParkedError) as error:
                skipped = optional or everything
                _print_progress(f"{'skipped' if skipped else 'error'}: {error}")
                codes.append(0 if skipped else error.exit_code)
            except (LatentWireError, UnbrokenError) as error:
                _print_progress(f"error: {error}")
                codes.append(error.exit_code)
    return next((code for code in codes if code), 0)


def _locate(root: Path, values: AnyParams, items: Sequence[TrainItem], optional: bool) -> list[RunLocation]:
    """Where each item runs; before `prepare` and `encode` nobody knows, and `optional` says that this is no error."""
    locations, missing = [], ""
    for item in items:
        try:
            locations.append(RunLocation(root, item.name, identity_of(values, item, root), item.ablation))
        except ConfigurationError as error:
            if not optional or _was_trained(root, item):
                raise
            missing = missing or str(error)
    if missing:
        _print_progress(f"skipped: {missing}")
    return locations


def _was_trained(root: Path, item: TrainItem) -> bool:
    return any((root / "state").glob(f"{item.name}-*/{CHECKPOINTS_FOLDER}/step-*"))


def _items(values: AnyParams, names: Sequence[str], everything: bool) -> list[TrainItem]:
    known = {item.name: item for item in TrainItem.all(values)}
    if bool(names) == everything:
        raise ConfigurationError(
            f"Which items? {'Names and --all were' if names else 'No name was'} given, expected names or --all. "
            f"Next: one of {', '.join(known)}; or --all."
        )
    return list(known.values()) if everything else [known[check_choice("ITEM", name, known)] for name in names]


def _identities(root: Path) -> dict[str, str]:
    """Item → name of its run folder, of those items of which that is known."""
    found, _ = find_identities(load_any_params(root / "params.yaml"), root)
    return {name: f"{name}-{short}" for name, short in found.items()}


def _pointer_only(location: RunLocation, store: RemoteStore) -> str:
    versions = store.pointers(location.run)
    if not versions:
        raise NothingParkedError(f"The DVC remote {store.name} has nothing of {location.item}.")
    write_pointer(location.root, versions[0], _print_progress)
    return f"{location.item}: {FOLDER}/{location.item}.dvc names step {versions[0].step} in {store.name}"


def _configure_dvc_logging() -> None:
    configure_logging()
    logging.getLogger("dvc").setLevel(logging.WARNING)


def _yes_or_no(same: bool) -> str:
    return "yes" if same else "no"


def _print_progress(sentence: str) -> None:
    print_sentence(sentence)
