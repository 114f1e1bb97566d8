"""Clones of this checkout below `.cache`, where other parameters are tried: the checkout itself does not change."""

from __future__ import annotations

import shutil
from pathlib import Path

from latentwire.errors import LatentWireError
from latentwire.git import checkout_commit, clone_commit, is_top, resolve_commit

WHEELS = "assets"
"""What git does not hold and the stages read."""


def committed(root: Path) -> str:
    """The commit that a clone of a checkout is made of.

    Raises:
        LatentWireError: There is none.
    """
    commit = resolve_commit(root)
    if commit is None:
        raise LatentWireError(f"{root.resolve()} has no commit to clone. Next: `git commit` there.")
    return commit


def check_clone(clone: Path) -> None:
    """Refuse a folder that is no clone: there git would change the checkout that it lies in.

    Raises:
        LatentWireError: It is there, and is none.
    """
    if clone.exists() and not is_top(clone):
        raise LatentWireError(f"{clone} is no git repository, expected a clone. Next: move it away, and start again.")


def update_clone(root: Path, clone: Path) -> None:
    """Clone the checkout at `root`, or bring the clone that is there to its commit; changes in the clone are lost.

    Raises:
        LatentWireError: Git failed; the message says how.
    """
    commit = committed(root)
    check_clone(clone)
    if not clone.exists():
        _clone_whole(root, commit, clone)
    checkout_commit(root, commit, clone)
    link_beside(root, clone, WHEELS)


def _clone_whole(root: Path, commit: str, clone: Path) -> None:
    """So that a kill leaves no half of one under its name."""
    new = clone.with_name(f"{clone.name}.new")
    shutil.rmtree(new, ignore_errors=True)
    new.parent.mkdir(parents=True, exist_ok=True)
    clone_commit(root, commit, new)
    new.rename(clone)


def link_beside(root: Path, clone: Path, name: str) -> None:
    """Let a clone have what git does not hold, where it is here."""
    if (root / name).exists() and not (clone / name).exists():
        (clone / name).parent.mkdir(exist_ok=True)
        (clone / name).unlink(missing_ok=True)  # a link to what has moved
        (clone / name).symlink_to((root / name).resolve())
