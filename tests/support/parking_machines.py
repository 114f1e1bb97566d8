"""Machines that train the toy of `unbroken`, each with a clone and a state folder of its own."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from latentwire.parking.fetch import FetchResult, fetch_checkpoint
from latentwire.parking.park import park_checkpoint
from latentwire.parking.pointer import Pointer
from latentwire.parking.run_location import RunLocation
from latentwire.parking.store import open_store
from tests.support import toy_training
from unbroken.preemption import Preempted

ITEM = "wire-r8-0"


@dataclass
class Machine:
    """A clone of the repository with a state folder of its own."""

    root: Path
    said: list[str] = field(default_factory=list)
    identity: toy_training.Identity = toy_training.IDENTITY

    @property
    def location(self) -> RunLocation:
        return RunLocation(self.root, ITEM, self.identity)

    def train(self, until: int | None = None, hook: toy_training.Hook | None = None, **options: object) -> list[str]:
        """Train to the end, or as if a signal came inside step `until`."""
        stop = toy_training.stop_at(until) if until else None
        try:
            return toy_training.train(self.location.folder, self.root / "export", hook=hook or stop, **options)
        except Preempted:
            return []

    def park(self, keep: int = 2) -> Pointer:
        with open_store(self.root, None, self.said.append) as store:
            return park_checkpoint(self.location, store, keep, self.said.append)

    def fetch(self) -> FetchResult:
        with open_store(self.root, None, self.said.append) as store:
            return fetch_checkpoint(self.location, store, self.said.append)

    def versions(self) -> list[Pointer]:
        with open_store(self.root, None, self.said.append) as store:
            return store.pointers(self.location.run)

    def steps(self) -> list[int]:
        """Steps whose checkpoints are here, newest first."""
        return [int(path.name[5:]) for path in self.location.newest_first()]

    @property
    def exported(self) -> dict[str, bytes]:
        return toy_training.contents(self.root / "export")
