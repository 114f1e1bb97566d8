"""What was published: a git revision or a folder with `dvc.lock` and `reports/provenance.json`."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from latentwire import digests, git
from latentwire.errors import ConfigurationError, LatentWireError
from latentwire.lock_copy import LOCK
from latentwire.params.load import check_is_there
from latentwire.verification import lockfile
from latentwire.verification.lockfile import Lock, UnverifiableError

PROVENANCE = "reports/provenance.json"
STATS_FILE = "results/aggregate/stats.json"


class Unknown(str):
    """Why it cannot be said how far off something is: only the digest of what was published is known."""

    __slots__ = ()

    @classmethod
    def without(cls, what: str) -> Unknown:
        """The sentence that names what is missing."""
        return cls(f"how far off it is cannot be said without the published {what}. Next: `dvc fetch`")


@dataclass(frozen=True)
class Published:
    """Published results. `label` names them in messages; `stored` reads a file that was published as it is."""

    label: str
    lock: Lock
    stored: Callable[[str], bytes | None]
    objects: Path | None
    """DVC's cache, which holds what was pulled."""
    commit: str | None
    """Revision of the code, where it is known."""

    @cached_property
    def record(self) -> bytes | None:
        """`reports/provenance.json` as it was published; None where it is neither there nor in DVC's cache."""
        return self.stored(PROVENANCE) or self.content(PROVENANCE)

    @cached_property
    def provenance(self) -> dict[str, Any]:
        """The parsed record: digests of predictions, tables and figures; empty where it is not available."""
        return dict(json.loads(self.record)) if self.record else {"outputs": {}, "sources": {}}

    @cached_property
    def stats(self) -> dict[str, Any] | None:
        """The published statistics; None where only their digest is known."""
        data = self.content(STATS_FILE)
        return None if data is None else dict(json.loads(data))

    def content(self, path: str) -> bytes | None:
        """Bytes of a published result, from what was published or DVC's cache; None where only digests are known."""
        wanted = self.digest(path)
        if wanted is None:
            return None
        for data in (self.stored(path), self._object(wanted)):
            if data is not None and digests.md5_of_bytes(data) == wanted:
                return data
        return None

    def digest(self, path: str) -> str | None:
        """MD5 of a file that a stage wrote, even inside a folder; None where it is not known."""
        known = lockfile.output_digests(self.lock)
        if path in known:
            return known[path]
        folder = next((out for out in known if path.startswith(f"{out}/")), None)
        return None if folder is None else (self.listing(folder) or {}).get(path.removeprefix(f"{folder}/"))

    def listing(self, folder: str) -> dict[str, str] | None:
        """Relative path → MD5 of a folder that a stage wrote; None where only the digest of the whole is known."""
        data = self._object(lockfile.output_digests(self.lock)[folder])
        return None if data is None else digests.read_listing(data)

    def _object(self, digest: str) -> bytes | None:
        path = self.objects and self.objects / digest[:2] / digest[2:]
        return path.read_bytes() if path and path.is_file() else None


def find_published(root: Path, where: str | None) -> Published:
    """The published results: a folder, a git revision, or, for None, what HEAD has.

    Raises:
        ConfigurationError: There is no params.yaml at `root`, or neither a folder nor a revision of this name.
        UnverifiableError: It has no `dvc.lock`, or git has no revision of the repository at all.
    """
    check_is_there(root / "params.yaml")
    if where is not None and Path(where).is_dir():
        return _read_folder(root, Path(where))
    name = where or "HEAD"
    commit = git.resolve_commit(root, name)
    if commit is None:
        raise _unknown_error(root, name)
    label = f"the revision {name} ({commit[:12]})"
    data = git.read_committed(root, commit, LOCK)
    if data is None:
        raise UnverifiableError(
            f"{label} has no {LOCK}, expected the digests of the published results. Next: commit it after `dvc repro`, "
            "or name a folder or revision that has them: `latentwire verify --published …`."
        )
    lock = lockfile.parse_lock(data, f"{LOCK} of {label}")
    return Published(label, lock, lambda path: git.read_committed(root, commit, path), dvc_cache_folder(root), commit)


def _unknown_error(root: Path, name: str) -> LatentWireError:
    """A wrong name where git knows other revisions; where it knows none, there is nothing to compare with."""
    why = git.explain_unknown(root)
    place = f"{root.resolve()} ({why})" if why else root.resolve()
    kind = UnverifiableError if why else ConfigurationError
    return kind(
        f"{name!r} is neither a folder nor a git revision of {place}; expected published results with "
        f"{LOCK} and {PROVENANCE}. Next: `latentwire verify --published FOLDER_OR_REVISION`."
    )


def dvc_cache_folder(root: Path) -> Path | None:
    """Folder of DVC's objects; None outside of a DVC repository."""
    # DVC takes a second to import, and only `verify` asks it.
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        with Repo(str(root)) as repo:
            return Path(repo.cache.local.path)
    except DvcException:
        return None


def _read_folder(root: Path, folder: Path) -> Published:
    def stored(path: str) -> bytes | None:
        return (folder / path).read_bytes() if (folder / path).is_file() else None

    data = stored(LOCK)
    if data is None:
        raise UnverifiableError(
            f"The folder {folder} has no {LOCK}, expected the digests of the published results. "
            f"Next: name a folder with {LOCK} and {PROVENANCE}, such as one of `latentwire archive`."
        )
    noted = stored("REVISION")
    commit = noted.decode().strip() if noted else None
    return Published(
        f"the folder {folder}",
        lockfile.parse_lock(data, str(folder / LOCK)),
        stored,
        dvc_cache_folder(root),
        commit,
    )
