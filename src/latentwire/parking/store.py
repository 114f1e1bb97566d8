"""DVC's side: objects into the cache and the remote, objects back, and the folder of pointers in the remote.

Uses `Repo.cloud`, which needs no lock of the repository: a stage may be running. No command of DVC parks an unfinished
out (see the package's docstring). DVC is pinned, and tests/unit/parking holds what is used of it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from latentwire.console.heartbeat import heartbeat
from latentwire.digests import md5_of_bytes, md5_of_file
from latentwire.parking.pointer import NAME, ParkingError, Pointer, RemoteError, parse_pointer
from unbroken.errors import UnbrokenError

POINTERS = "latentwire/parked"
"""Folder of the remote; DVC's own are `files` and `runs`, which are all that `dvc gc` looks at."""


@dataclass(frozen=True)
class RemoteStore:
    """The DVC remote of a repository: the default one, or the one given by name."""

    name: str
    path: str
    fs: Any
    """DVC's file system of the remote."""
    objects: Any
    """DVC's objects in the remote."""
    cache: Any
    """DVC's objects on this machine."""
    report: Callable[[str], None]

    def upload(self, files: Mapping[str, Path], work: Path) -> tuple[str, int]:
        """Store files under relative names; return the name of their listing and their size in bytes.

        The listing goes last, and only when the remote has confirmed the size of every file.
        """
        names = {relative: md5_of_file(path) for relative, path in files.items()}
        listing = json.dumps([{"md5": names[key], "relpath": key} for key in sorted(names)]).encode()
        listed = work / "listing"
        listed.write_bytes(listing)
        oid = md5_of_bytes(listing) + ".dir"
        with self._remote_errors("parked"), heartbeat(f"sending to the DVC remote {self.name}", at_once=False):
            for objects in (self.cache, self.objects):
                self._add(objects, {names[key]: path for key, path in files.items()})
                self._add(objects, {oid: listed})
        return oid, sum(path.stat().st_size for path in files.values())

    def put_pointer(self, pointer: Pointer, local: Path) -> None:
        """Make a version visible; everything that it refers to is already in the remote."""
        with self._remote_errors("parked"):
            self.fs.makedirs(self._folder(pointer.run))
            self.fs.put_file(str(local), self.fs.join(self._folder(pointer.run), pointer.name))

    def pointers(self, run: str) -> list[Pointer]:
        """The parked versions of a run folder's name, newest first; a damaged one is reported and left out.

        Raises:
            RemoteError: One of them cannot be read now.
        """
        pointers = []
        for name in filter(NAME.fullmatch, self._names(self._folder(run))):
            try:
                pointers.append(self._pointer(run, name))
            except RemoteError:
                raise  # left out, it would make an older version the newest
            except ParkingError as error:
                self.report(str(error))
        return sorted(pointers, key=lambda pointer: (pointer.step, pointer.events, pointer.listing), reverse=True)

    def runs(self) -> list[str]:
        """Names of all run folders of which something is parked."""
        return sorted(self._names(self.fs.join(self.path, POINTERS)))

    def drop(self, pointer: Pointer) -> None:
        """Remove a version's pointer; its objects stay."""
        with self._remote_errors("dropped"), suppress(FileNotFoundError):
            self.fs.rm(self.fs.join(self._folder(pointer.run), pointer.name))

    def listing(self, pointer: Pointer) -> dict[str, str]:
        """Relative name → object of a version's files.

        Raises:
            ParkingError: The listing is gone, or is not the one that the pointer names.
        """
        data = self._read(self.objects.oid_to_path(pointer.listing))
        if md5_of_bytes(data) + ".dir" != pointer.listing:
            raise ParkingError(self._not_as_parked(pointer.listing))
        return {entry["relpath"]: entry["md5"] for entry in json.loads(data)}

    def download(self, oid: str, target: Path) -> None:
        """Download an object to a file.

        Raises:
            ParkingError: It is gone, or its content does not match its name.
        """
        source = self.objects.oid_to_path(oid)
        waiting = heartbeat(f"receiving from the DVC remote {self.name}", at_once=False)
        with self._remote_errors("fetched"), self._present(source), waiting:
            self.fs.get_file(source, str(target))
        if md5_of_file(target) != oid:
            raise ParkingError(self._not_as_parked(oid))

    def _folder(self, run: str) -> str:
        return str(self.fs.join(self.path, POINTERS, run))

    def _names(self, folder: str) -> list[str]:
        with self._remote_errors("listed"):
            try:
                return [str(self.fs.name(path.rstrip("/"))) for path in self.fs.ls(folder, detail=False)]
            except FileNotFoundError:
                return []

    def _pointer(self, run: str, name: str) -> Pointer:
        where = self.fs.join(self._folder(run), name)
        pointer = parse_pointer(self._read(where), where)
        if (pointer.run, pointer.name) != (run, name):
            raise ParkingError(f"{where} is the pointer of {pointer.run}/{pointer.name}.")
        return pointer

    def _read(self, path: str) -> bytes:
        with self._remote_errors("fetched"), self._present(path):
            return bytes(self.fs.cat_file(path))

    def _add(self, objects: Any, files: Mapping[str, Path]) -> None:
        from dvc_objects.fs.local import LocalFileSystem

        objects.add([str(path) for path in files.values()], LocalFileSystem(), list(files))
        for oid, path in files.items():
            # An upload that was killed half-way, on a remote without atomic writes, would count as done.
            where, size = objects.oid_to_path(oid), path.stat().st_size
            if (stored := objects.fs.info(where)["size"]) != size:
                raise ParkingError(
                    f"The object {where} has {stored} bytes, expected {size}: an earlier upload was cut off. "
                    f"Next: remove that object, then the same command again."
                )

    def _not_as_parked(self, oid: str) -> str:
        where = self.objects.oid_to_path(oid)
        return (
            f"The object {where} in the DVC remote {self.name} is not what was parked: its content does not have the "
            f"MD5 in its name. Nothing of it is used. Next: remove that object, then `latentwire park` on a machine "
            f"that has the state."
        )

    @contextmanager
    def _present(self, path: str) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError as error:
            raise ParkingError(
                f"The DVC remote {self.name} has no {path}, which a parked checkpoint needs: it was not pushed, or "
                f"`dvc gc` deleted it. Next: `latentwire park` on a machine that has the state."
            ) from error

    @contextmanager
    def _remote_errors(self, done: str) -> Iterator[None]:
        try:
            yield
        except (ParkingError, UnbrokenError):
            raise
        except Exception as error:  # each kind of remote has its own exceptions
            raise RemoteError(
                f"Nothing was {done}: the DVC remote {self.name} ({self.path}) answered {type(error).__name__}: "
                f"{error}. Next: `dvc push -r {self.name}` shows whether DVC reaches it; then the same command again."
            ) from error


@contextmanager
def open_store(root: Path, name: str | None, report: Callable[[str], None]) -> Iterator[RemoteStore]:
    """Open the remote that DVC is configured with.

    Raises:
        ParkingError: There is no repository, no remote, or one that keeps no objects (`version_aware`, `worktree`).
    """
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        repo = Repo(str(root))
    except DvcException as error:
        raise ParkingError(
            f"{root.resolve()} is no usable DVC repository ({error}). Next: run it in the root of the repository."
        ) from error
    with repo:
        yield _opened(repo, name, report)


def _opened(repo: Any, name: str | None, report: Callable[[str], None]) -> RemoteStore:
    from dvc.config import NoRemoteError, RemoteConfigError
    from dvc.exceptions import DvcException

    try:
        remote = repo.cloud.get_remote(name, "park")
        objects = repo.cloud.get_remote_odb(name, "park")
    except NoRemoteError as error:
        raise ParkingError(
            "DVC has no default remote, and a parked checkpoint has to be somewhere that other machines reach. "
            "Next: `dvc remote add --default NAME URL`."
        ) from error
    except RemoteConfigError as error:
        raise ParkingError(f"DVC's remote cannot be used ({error}). Next: `dvc remote list`.") from error
    except DvcException as error:
        raise ParkingError(f"DVC could not open its remote ({error}). Next: `dvc remote list`.") from error
    return RemoteStore(remote.name, remote.path, remote.fs, objects, repo.cache.local, report)
