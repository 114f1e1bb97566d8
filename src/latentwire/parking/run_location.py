"""Where the run of one item is, and its checkpoints, read without disturbing the training."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from latentwire.result_code import dvc_stage_name
from unbroken.checkpoint.reading import CHECKPOINTS_FOLDER
from unbroken.errors import storage_errors
from unbroken.run_folder.identity import Identity


@dataclass(frozen=True)
class RunLocation:
    """Where the run of an item is, or would be."""

    root: Path
    item: str
    identity: Identity
    ablation: bool = False
    """An item of `train.ablations`."""

    @property
    def stage(self) -> str:
        """The stage of DVC that trains it."""
        return dvc_stage_name("train", self.item, self.ablation)

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
        """Folders of checkpoints, read without disturbing a training that is under way.

        Raises:
            StorageError: They cannot be listed now.
        """
        with storage_errors("list the checkpoints", self.checkpoints, "They were not touched."):
            try:
                names = os.listdir(self.checkpoints)  # a glob passes over what it may not list
            except FileNotFoundError:
                return []
        steps = [name for name in names if name.startswith("step-") and name.removeprefix("step-").isdecimal()]
        return sorted((self.checkpoints / name for name in steps), key=step_of, reverse=True)


def step_of(checkpoint: Path) -> int:
    """The step in the name of a checkpoint's folder."""
    return int(checkpoint.name.removeprefix("step-"))


def summarize_difference(left: Identity, right: Identity, most: int = 4) -> str:
    """The first differences of two identities, in one sentence."""
    differing = left.difference(right)
    return "; ".join(differing[:most]) + (f"; and {len(differing) - most} more" if len(differing) > most else "")
