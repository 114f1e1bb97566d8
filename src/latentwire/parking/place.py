"""One item's run in a repository, and what is read of it without disturbing its training."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from unbroken.run import CHECKPOINTS_FOLDER
from unbroken.run_folder.identity import Identity


@dataclass(frozen=True)
class Place:
    """Where the run of an item is, or would be."""

    root: Path
    item: str
    identity: Identity

    @property
    def run(self) -> str:
        """Name of the run folder."""
        return f"{self.item}-{self.identity.short}"

    @property
    def state(self) -> Path:
        """The folder of run folders."""
        return self.root / "state"

    @property
    def folder(self) -> Path:
        """The run folder."""
        return self.state / self.run

    @property
    def checkpoints(self) -> Path:
        """The folder of its checkpoints."""
        return self.folder / CHECKPOINTS_FOLDER

    def newest_first(self) -> list[Path]:
        """Folders of checkpoints; opening the store instead would clear away a save that is under way."""
        found = (path for path in self.checkpoints.glob("step-*") if path.name[len("step-") :].isdecimal())
        return sorted(found, key=step_of, reverse=True)


def step_of(checkpoint: Path) -> int:
    """The step in the name of a checkpoint's folder."""
    return int(checkpoint.name.removeprefix("step-"))


def difference(one: Identity, other: Identity) -> str:
    """What differs, in a sentence's length."""
    found = one.difference(other)
    return "; ".join(found[:4]) + (f"; and {len(found) - 4} more" if len(found) > 4 else "")
