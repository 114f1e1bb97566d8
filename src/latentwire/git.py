"""What git knows: revisions, files of a revision, and whether the working tree is one."""

from __future__ import annotations

import subprocess
from pathlib import Path


def git(root: Path, *arguments: str) -> bytes | None:
    """What a git command printed; None where it failed or git is not there."""
    try:
        done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, check=False)
    except FileNotFoundError:
        return None
    return done.stdout if done.returncode == 0 else None


def commit(root: Path, name: str = "HEAD") -> str | None:
    """40 hex of a revision; None where there is none of this name."""
    found = git(root, "rev-parse", "--verify", "--quiet", f"{name}^{{commit}}")
    return found.decode().strip() if found else None


def date(root: Path, name: str) -> str | None:
    """Day of a commit, as 2026-01-31."""
    found = git(root, "show", "--no-patch", "--format=%cs", name)
    return found.decode().strip() if found else None


def file_at(root: Path, name: str, path: str) -> bytes | None:
    """A file of a revision; None where the revision does not hold it."""
    # ./ counts from `root`, which need not be the top of the repository.
    return git(root, "show", f"{name}:./{path}")


def changed(root: Path) -> list[str]:
    """Tracked files that differ from HEAD."""
    return (git(root, "diff", "--name-only", "--relative", "HEAD") or b"").decode().splitlines()
