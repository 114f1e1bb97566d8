"""`latentwire verify --recompute`: run the published code from the data, in a fresh clone that has no results."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from latentwire.environment import clone_environment
from latentwire.errors import LatentWireError
from latentwire.git import GitError, clone_commit
from latentwire.verification.lockfile import UnverifiableError
from latentwire.verification.published import Published


def recompute_published(root: Path, published: Published, folder: Path, stages: Sequence[str] = ()) -> Path:
    """Clone the published revision into `folder` and run its pipeline there; return the clone.

    DVC's caches are not used, so that every stage really runs. The whole takes as long as `make repro`; of `stages`, if
    any are named, only they and what they need are run.

    Raises:
        UnverifiableError: The revision of the published code is not known or not here.
        LatentWireError: The pipeline failed.
    """
    clone = folder / "repo"
    _clone(root, published, clone)
    if (root / "assets").is_dir():
        (clone / "assets").symlink_to((root / "assets").resolve())
    command = [sys.executable, "-m", "dvc", "repro", "--force", "--no-run-cache", *stages]
    done = subprocess.run(command, cwd=clone, env=clone_environment(clone), check=False)
    if done.returncode:
        raise LatentWireError(
            f"`dvc repro` of {published.label} failed with {done.returncode} in {clone}, expected all stages to run. "
            "Next: read what it printed above; `latentwire doctor` says what this machine lacks."
        )
    return clone


def _clone(root: Path, published: Published, clone: Path) -> None:
    if published.commit is None:
        raise UnverifiableError(
            f"{published.label} has no file REVISION that names the commit of its code, so nothing can be run again. "
            "Next: name a git revision: `latentwire verify --recompute --published REVISION`."
        )
    clone.parent.mkdir(parents=True, exist_ok=True)
    try:
        clone_commit(root, published.commit, clone)
    except GitError as error:
        raise UnverifiableError(
            f"The revision {published.commit[:12]} could not be cloned from {root.resolve()}: {error}. "
            "Expected the published code there. Next: `git fetch` it, then run this again."
        ) from error
