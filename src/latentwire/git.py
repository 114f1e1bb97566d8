"""What git knows: revisions, their files, and what differs from them. Nothing else calls git."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

from latentwire.environment import git_environment
from latentwire.errors import LatentWireError

_PLAIN = ("-c", "color.ui=false", "-c", "core.quotePath=false", "-c", "log.showSignature=false")
"""What a user sets for his eyes would change what is read here."""

_NO_COMMIT = "the repository has no commit yet"

_ENGLISH = {"LC_ALL": "C", "LANGUAGE": ""}
"""Of its sentences, one is recognised here and the others stand within ours."""


class GitError(LatentWireError):
    """Git failed; the message is what it printed, or why it could not be asked."""


def resolve_commit(root: Path, name: str = "HEAD") -> str | None:
    """40 hex of a revision; None where there is none of this name."""
    return _text(_run_git(root, "rev-parse", "--verify", "--quiet", f"{name}^{{commit}}"))


def commit_date(root: Path, name: str) -> str | None:
    """Day of a commit, as 2026-01-31."""
    return _text(_run_git(root, "show", "--no-patch", "--format=%cs", name))


def newest_commit(root: Path, paths: Iterable[str]) -> str | None:
    """40 hex of the newest commit that changed one of the paths; None where there is none."""
    return _text(_run_git(root, "log", "-1", "--format=%H", "--", *paths))


def is_cut_off(root: Path, commit: str) -> bool:
    """Whether a shallow clone begins with this commit: all files seem to be new in it, whenever they changed."""
    path = _text(_run_git(root, "rev-parse", "--git-path", "shallow"))
    return path is not None and (root / path).is_file() and commit in (root / path).read_text().split()


def tracked_files(root: Path, paths: Iterable[str]) -> list[str] | None:
    """The tracked files under these paths, in order; None where git does not say."""
    listed = _run_git(root, "ls-files", "-z", "--", *paths)
    return None if listed is None else sorted(filter(None, listed.decode().split("\0")))


def explain_unknown(root: Path) -> str | None:
    """Why git knows no revision of a folder, in its own words; None where it knows one."""
    try:
        done = _call_git(["rev-parse", "--verify", "HEAD^{commit}"], root)
    except GitError as error:
        return str(error)
    if done.returncode == 0:
        return None
    said = " ".join(done.stderr.decode(errors="replace").split()).removeprefix("fatal: ")
    if "single revision" not in said:
        return f"git says: {said}"
    return "HEAD names no commit that is here (`git fsck` says more)" if _had_commits(root) else _NO_COMMIT


def _had_commits(root: Path) -> bool:
    """A power cut may leave a branch without its commit, which git takes for one that has none yet."""
    path = _text(_run_git(root, "rev-parse", "--git-path", "logs/HEAD"))
    return path is not None and (root / path).is_file() and (root / path).stat().st_size > 0


def read_committed(root: Path, name: str, path: str) -> bytes | None:
    """A file of a revision; None where the revision does not hold it."""
    # ./ counts from `root`, which need not be the top of the repository.
    return _run_git(root, "show", f"{name}:./{path}")


def changed_files(root: Path, name: str = "HEAD") -> list[str]:
    """Tracked files that differ from a revision.

    Raises:
        GitError: Git does not say; that is not the same as none.
    """
    listed = _run_git(root, "diff", "--name-only", "--no-ext-diff", "--relative", "-z", name)
    if listed is None:
        raise GitError(
            f"Nobody knows what changed in {root.resolve()}: {explain_unknown(root) or 'git diff failed'}. Next: mend "
            "that (`git status` says more), and run this again."
        )
    return [name for name in listed.decode(errors="backslashreplace").split("\0") if name]


def has_changes(root: Path, paths: Iterable[str]) -> bool | None:
    """Whether one of the paths, or a new file under one, differs from HEAD; None where git does not say."""
    status = _run_git(root, "status", "--porcelain", "--untracked-files=all", "--", *paths)
    return None if status is None else bool(status.strip())


def is_top(root: Path) -> bool:
    """Whether a folder is the top of a repository of its own; in any other, git takes the repository around it."""
    top = _text(_run_git(root, "rev-parse", "--show-toplevel"))
    return top is not None and Path(top).resolve() == root.resolve()


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
        ["clone", "--quiet", "--no-checkout", str(root.resolve()), str(clone)],
        ["-C", str(clone), "checkout", "--quiet", "--detach", commit],
    )
    for command in commands:
        done = _call_git(command)
        if done.returncode:
            shutil.rmtree(clone, ignore_errors=True)
            raise GitError(done.stderr.decode(errors="replace").strip())


def checkout_commit(root: Path, commit: str, clone: Path) -> None:
    """Bring a clone to a commit of the repository at `root`; what was changed in the clone is lost.

    Raises:
        GitError: Git failed.
    """
    fetch = ["-C", str(clone), "fetch", "--quiet", str(root.resolve()), "HEAD"]
    for command in (fetch, ["-C", str(clone), "checkout", "--quiet", "--force", "--detach", commit]):
        done = _call_git(command)
        if done.returncode:
            raise GitError(f"{clone}: {done.stderr.decode(errors='replace').strip()}")


def commit_everything(root: Path, branch: str, message: str) -> None:
    """Commit all that is in a checkout, and not ignored, on a branch that begins here; who has no name needs none.

    Raises:
        GitError: Git refused.
    """
    author = ("-c", "user.name=latentwire", "-c", "user.email=latentwire@localhost", "-c", "commit.gpgSign=false")
    commit = [*author, "commit", "--quiet", "--no-verify", "--allow-empty", "--message", message]
    for command in (["checkout", "--quiet", "-B", branch], ["add", "--all"], commit):
        done = _call_git(command, root)
        if done.returncode:
            raise GitError(f"{root.resolve()}: {done.stderr.decode(errors='replace').strip()}")


def _run_git(root: Path, *arguments: str) -> bytes | None:
    """What a git command printed; None where it failed or could not be asked."""
    try:
        done = _call_git(arguments, root)
    except GitError:
        return None
    return done.stdout if done.returncode == 0 else None


def _call_git(arguments: Sequence[str], root: Path | None = None) -> subprocess.CompletedProcess[bytes]:
    if root is not None and not root.is_dir():
        raise GitError(f"{root} is no folder")
    command = ["git", *_PLAIN, *arguments]
    variables = {**git_environment(), **_ENGLISH}
    try:
        return subprocess.run(command, cwd=root, env=variables, capture_output=True, check=False)
    except FileNotFoundError:
        raise GitError("git is not installed") from None
    except OSError as error:  # of another kind of machine, or in a folder of PATH that may not be read
        raise GitError(f"git cannot be started: {error.strerror}") from None


def _text(output: bytes | None) -> str | None:
    return output.decode().strip() if output else None
