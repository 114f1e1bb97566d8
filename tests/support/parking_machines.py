"""Machines that train the toy of `unbroken`, each with a clone and a state folder of its own."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from latentwire.parking import fetch as fetching
from latentwire.parking import park as parking
from latentwire.parking.fetch import Fetched
from latentwire.parking.place import Place
from latentwire.parking.pointer import Pointer
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
    def place(self) -> Place:
        return Place(self.root, ITEM, self.identity)

    def train(self, until: int | None = None, hook: toy_training.Hook | None = None, **options: object) -> list[str]:
        """Train to the end, or as if a signal came inside step `until`."""
        stop = toy_training.stop_at(until) if until else None
        try:
            return toy_training.train(self.place.folder, self.root / "export", hook=hook or stop, **options)
        except Preempted:
            return []

    def park(self, keep: int = parking.KEEP) -> Pointer:
        with open_store(self.root, None, self.said.append) as store:
            return parking.park(self.place, store, keep, self.said.append)

    def fetch(self) -> Fetched:
        with open_store(self.root, None, self.said.append) as store:
            return fetching.fetch(self.place, store, self.said.append)

    def versions(self) -> list[Pointer]:
        with open_store(self.root, None, self.said.append) as store:
            return store.pointers(self.place.run)

    def steps(self) -> list[int]:
        """Steps whose checkpoints are here, newest first."""
        return [int(path.name[5:]) for path in self.place.newest_first()]

    @property
    def exported(self) -> dict[str, bytes]:
        return toy_training.contents(self.root / "export")
