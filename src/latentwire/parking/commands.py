"""`latentwire park` and `latentwire fetch`: which items, what is printed, exit codes."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from latentwire.console.logging import configure
from latentwire.errors import ConfigurationError, LatentWireError
from latentwire.item import TrainItem
from latentwire.machine import readable
from latentwire.params.load import Params, chosen, load
from latentwire.parking import fetch as fetching
from latentwire.parking import park as parking
from latentwire.parking.fetch import NothingParkedError
from latentwire.parking.park import NothingToParkError
from latentwire.parking.place import Place
from latentwire.parking.pointer import FOLDER
from latentwire.parking.store import Store, open_store
from latentwire.training.run_identity import identity
from unbroken.errors import UnbrokenError


def park(root: Path, names: Sequence[str], everything: bool, optional: bool, keep: int, remote: str | None) -> int:
    """Park items and say where; the exit code."""

    def one(place: Place, store: Store) -> str:
        pointer = parking.park(place, store, keep, _say)
        return (
            f"{place.item}: step {pointer.step} is parked in {store.name} ({readable(pointer.size)}, "
            f"{FOLDER}/{place.item}.dvc, {parking.REF}/{place.run})"
        )

    return _each(root, names, everything, optional, remote, one)


def fetch(
    root: Path, names: Sequence[str], everything: bool, optional: bool, pointers: bool, remote: str | None
) -> int:
    """Fetch items, or only their pointers, and say what is here now; the exit code."""

    def one(place: Place, store: Store) -> str:
        if pointers:
            return _pointer_only(place, store)
        found = fetching.fetch(place, store, _say)
        if not found.new:
            return f"{place.item}: step {found.step} is here already, nothing newer is parked"
        return f"{place.item}: step {found.step} fetched to {place.folder}, `dvc repro train@{place.item}` goes on"

    return _each(root, names, everything, optional, remote, one)


def show(root: Path, remote: str | None) -> int:
    """A row for each parked version in the remote."""
    _settle_logging()
    here = _identities(root)
    table = Table("item", "identity", "step", "size", "parked by this code, these params and data")
    with open_store(root, remote, _say) as store:
        for run in store.runs():
            for pointer in store.pointers(run):
                ours = here.get(pointer.item)
                same = "unknown, `prepare` and `encode` did not run here" if ours is None else _yes(ours == run)
                table.add_row(pointer.item, run[-12:], str(pointer.step), readable(pointer.size), same)
    Console().print(table if table.row_count else f"Nothing is parked in the DVC remote {store.name}.")
    return 0


def _each(
    root: Path,
    names: Sequence[str],
    everything: bool,
    optional: bool,
    remote: str | None,
    one: Callable[[Place, Store], str],
) -> int:
    """Do it for every item; one that fails does not stop the others. The first error's exit code."""
    _settle_logging()
    values = load(root / "params.yaml")
    places = [Place(root, item.name, identity(values, item, root)) for item in _items(values, names, everything)]
    codes = []
    with open_store(root, remote, _say) as store:
        for place in places:
            try:
                print(one(place, store), flush=True)
            except (NothingToParkError, NothingParkedError) as error:
                skipped = optional or everything
                _say(f"{'skipped' if skipped else 'error'}: {error}")
                codes.append(0 if skipped else error.exit_code)
            except (LatentWireError, UnbrokenError) as error:
                _say(f"error: {error}")
                codes.append(error.exit_code)
    return next((code for code in codes if code), 0)


def _items(values: Params, names: Sequence[str], everything: bool) -> list[TrainItem]:
    known = {item.name: item for item in TrainItem.all(values)}
    if bool(names) == everything:
        raise ConfigurationError(
            f"Which items? {'Names and --all' if names else 'No name'} were given, expected names or --all. "
            f"Next: one of {', '.join(known)}; or --all."
        )
    return list(known.values()) if everything else [known[chosen("ITEM", name, known)] for name in names]


def _identities(root: Path) -> dict[str, str]:
    """Item → name of its run folder; empty where that is not known yet."""
    values = load(root / "params.yaml")
    try:
        return {item.name: f"{item.name}-{identity(values, item, root).short}" for item in TrainItem.all(values)}
    except ConfigurationError:
        return {}


def _pointer_only(place: Place, store: Store) -> str:
    versions = store.pointers(place.run)
    if not versions:
        raise NothingParkedError(f"The DVC remote {store.name} has nothing of {place.item}.")
    parking.write_pointer(place.root, versions[0], _say)
    return f"{place.item}: {FOLDER}/{place.item}.dvc names step {versions[0].step} in {store.name}"


def _settle_logging() -> None:
    configure()
    logging.getLogger("dvc").setLevel(logging.WARNING)


def _yes(same: bool) -> str:
    return "yes" if same else "no"


def _say(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)
