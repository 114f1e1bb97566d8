"""`latentwire verify --recompute`: run the published code from data, in a clone of its own that knows no results."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from latentwire.errors import LatentWireError
from latentwire.git import GitError, clone_commit
from latentwire.verification.lockfile import UnverifiableError
from latentwire.verification.published import Published

DROPPED_VARIABLES = ("MLFLOW_", "DVC_", "PYTHON", "LATENTWIRE_")
"""Variables that would lead the clone to results, runs or code of another place."""


def recompute_published(root: Path, published: Published, folder: Path) -> Path:
    """Clone the published revision into `folder` and run its whole pipeline; return the clone.

    DVC's caches are not used, so that every stage really runs. It takes as long as `make repro`.

    Raises:
        UnverifiableError: The revision of the published code is not known or not here.
        LatentWireError: The pipeline failed.
    """
    clone = folder / "repo"
    _clone(root, published, clone)
    if (root / "assets").is_dir():
        (clone / "assets").symlink_to((root / "assets").resolve())
    command = [sys.executable, "-m", "dvc", "repro", "--force", "--no-run-cache"]
    done = subprocess.run(command, cwd=clone, env=clone_environment(os.environ, clone), check=False)
    if done.returncode:
        raise LatentWireError(
            f"`dvc repro` of {published.label} failed with {done.returncode} in {clone}, expected all stages to run. "
            "Next: read what it printed above; `latentwire doctor` says what this machine lacks."
        )
    return clone


def clone_environment(variables: Mapping[str, str], clone: Path) -> dict[str, str]:
    """The variables of the clone's processes: its own code, MLflow store and DVC state, this Python."""
    kept = {name: value for name, value in variables.items() if not name.startswith(DROPPED_VARIABLES)}
    path = f"{Path(sys.executable).parent}{os.pathsep}{kept.get('PATH', '')}"
    own = {"PATH": path, "PYTHONPATH": str(clone / "src"), "DVC_SITE_CACHE_DIR": str(clone / ".cache/dvc")}
    return {**kept, **own, "PYTHONUNBUFFERED": "1"}


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
