"""Two folders with the same commit: of the tiny workspace, or of this repository with its default parameters."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

from latentwire.environment import clone_environment
from tests.support import workspace
from tests.support.workspace import ROOT, SHORT_WIRE, Workspace

TINY: dict[str, Any] = {
    "train__seeds": [0, 1, 2],
    "train__steps": 16,
    "prepare__limits": {"train": 120, "validation": 20, "test": 50},
}
TINY |= {"methods__wire_1": SHORT_WIRE, "train__ablations": {"methods": ["wire_1"], "seeds": [0]}}


class Clone(Workspace):
    """A clone of this repository."""

    @property
    def environment(self) -> dict[str, str]:
        return {**clone_environment(self.root), "HF_HUB_OFFLINE": "1"}


def tiny(folder: Path) -> tuple[Workspace, Workspace]:
    """Two tasks, three seeds and an ablation, 50 test texts, two tiny receivers; both folders have one commit."""
    first = workspace.make(folder / "first", tasks=2, **TINY)
    return first, workspace.copy(first, folder / "a second folder with a longer name")


def default(folder: Path) -> tuple[Workspace, Workspace]:
    """Clones of HEAD, with the models and data that were fetched here."""
    clones = Clone(folder / "first"), Clone(folder / "a second folder with a longer name")
    for clone in clones:
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone.root)], check=True)
        (clone.root / "assets").symlink_to((ROOT / "assets").resolve())
    return clones


PROFILES = {"tiny": tiny, "default": default}
