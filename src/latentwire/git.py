"""What git knows: revisions, their files, and what differs from them. Nothing else calls git."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

from latentwire.errors import LatentWireError


class GitError(LatentWireError):
    """Git failed; the message is what it printed."""


def resolve_commit(root: Path, name: str = "HEAD") -> str | None:
    """40 hex of a revision; None where there is none of this name."""
    return _text(_run_git(root, "rev-parse", "--verify", "--quiet", f"{name}^{{commit}}"))


def commit_date(root: Path, name: str) -> str | None:
    """Day of a commit, as 2026-01-31."""
    return _text(_run_git(root, "show", "--no-patch", "--format=%cs", name))


def newest_commit(root: Path, paths: Iterable[str]) -> str | None:
    """40 hex of the newest commit that changed one of the paths; None where there is none."""
    return _text(_run_git(root, "log", "-1", "--format=%H", "--", *paths))


def read_committed(root: Path, name: str, path: str) -> bytes | None:
    """A file of a revision; None where the revision does not hold it."""
    # ./ counts from `root`, which need not be the top of the repository.
    return _run_git(root, "show", f"{name}:./{path}")


def changed_files(root: Path) -> list[str]:
    """Tracked files that differ from HEAD."""
    return (_run_git(root, "diff", "--name-only", "--relative", "HEAD") or b"").decode().splitlines()


def has_changes(root: Path, paths: Iterable[str]) -> bool | None:
    """Whether one of the paths, or a new file under one, differs from HEAD; None where git does not say."""
    status = _run_git(root, "status", "--porcelain", "--untracked-files=all", "--", *paths)
    return None if status is None else bool(status.strip())


def archive_commit(root: Path, commit: str, prefix: str) -> bytes | None:
    """All files of a commit as a tar file, in a folder called `prefix`; None where git failed."""
    return _run_git(root, "archive", "--format=tar", f"--prefix={prefix}/", commit)


def store_file_in_ref(root: Path, path: Path, ref: str) -> bool:
    """Store the bytes of a file, which need not be tracked, under a ref; return whether git took them."""
    blob = _text(_run_git(root, "hash-object", "-w", "--no-filters", str(path)))
    return blob is not None and _run_git(root, "update-ref", ref, blob) is not None


def clone_commit(root: Path, commit: str, clone: Path) -> None:
    """Clone a repository and check out a commit; `clone` is gone where that fails.

    Raises:
        GitError: There is no such repository or commit.
    """
    commands = (
        ["git", "clone", "--quiet", "--no-checkout", str(root.resolve()), str(clone)],
        ["git", "-C", str(clone), "checkout", "--quiet", "--detach", commit],
    )
    for command in commands:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            shutil.rmtree(clone, ignore_errors=True)
            raise GitError(done.stderr.strip())


def _run_git(root: Path, *arguments: str) -> bytes | None:
    """What a git command printed; None where it failed or git is not there."""
    try:
        done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, check=False)
    except FileNotFoundError:
        return None
    return done.stdout if done.returncode == 0 else None


def _text(output: bytes | None) -> str | None:
    return output.decode().strip() if output else None
