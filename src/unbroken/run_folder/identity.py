"""A run is named by what defines it, so that two starts of the same thing meet in the same folder."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from unbroken.canonical_json import JSON, digest_json, encode_canonical
from unbroken.errors import ArgumentError, IdentityError, describe_error, errno_name, shorten_text, storage_errors
from unbroken.filesystem import FileSystem, read_file, replace_file

__all__ = ["IDENTITY_FILE", "Identity", "check_or_write_identity", "open_run_folder"]

IDENTITY_FILE = "identity.json"


class Identity:
    """What defines a run: parameters, digests of data and code, the seed. No clock, host or job id."""

    def __init__(self, parts: Mapping[str, JSON]) -> None:
        """Take the parts as they are now.

        Raises:
            ArgumentError: It is no mapping, a part is not JSON, or a number is not finite.
        """
        try:
            if not isinstance(parts, Mapping):
                raise TypeError(type(parts).__name__)
            self._text = encode_canonical(parts)
        except (TypeError, ValueError) as error:
            raise ArgumentError(
                f"An identity was made of what is no JSON ({describe_error(error)}); expected a mapping of names to "
                "texts, finite numbers, booleans, None, lists and mappings of these. Next: "
                'Identity({"lr": 0.1, "data": "sha256 of its files"}).'
            ) from None
        self.parts: Mapping[str, JSON] = json.loads(self._text)
        self.digest = digest_json(self.parts)

    @property
    def short(self) -> str:
        """The first 12 hex characters of the digest."""
        return self.digest[:12]

    def text(self) -> bytes:
        """The identity as one JSON line, with the digest that a damaged line does not have."""
        return b'{"digest":"' + self.digest.encode() + b'","parts":' + self._text + b"}\n"

    def difference(self, other: Identity) -> list[str]:
        """What changed from `self` to `other`: `train.lr: 0.001 -> 0.002`, one string per changed leaf."""
        before, after = dict(_leaves(self.parts, "")), dict(_leaves(other.parts, ""))
        return [
            f"{key}: {shorten_text(before.get(key, '(absent)'))} -> {shorten_text(after.get(key, '(absent)'))}"
            for key in sorted(before.keys() | after.keys())
            if before.get(key) != after.get(key)
        ]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Identity) and other.digest == self.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    @staticmethod
    def read(path: Path, files: FileSystem | None = None) -> Identity | None:
        """The identity in a file; None when there is none, or a damaged one.

        Raises:
            OSError: It cannot be read now.
        """
        try:
            data = read_file(files or FileSystem(), path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        return _parse_identity(data)


def _parse_identity(data: bytes) -> Identity | None:
    try:
        fields = json.loads(data)
        stored = Identity(fields["parts"])
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    if fields.keys() > {"digest", "parts"}:  # of a newer version, which is no damage
        return stored if fields["digest"] == stored.digest else None
    return stored if stored.text() == data else None


def open_run_folder(root: Path, item: str, identity: Identity, report: Callable[[str], None]) -> Path:
    """`root/<item>-<short>/`, made when it is missing. Any number of processes may call this.

    Every `<item>-*` beside it that belongs to another identity is reported: what differs, that it is kept, and
    how to remove it.

    Raises:
        StorageError: The folder cannot be made.
    """
    folder = root / f"{item}-{identity.short}"
    with storage_errors("make the run folder", folder, "Nothing was changed."):
        folder.mkdir(parents=True, exist_ok=True)
    for sibling in sorted(root.glob(f"{item}-*")):
        if sibling != folder and _is_run_folder_of(sibling, item):
            report(_describe_sibling(sibling, folder, identity))
    return folder


def check_or_write_identity(folder: Path, identity: Identity, files: FileSystem, report: Callable[[str], None]) -> None:
    """Write `identity.json`, or check the one that is there. Only the holder of the folder's lock may call this.

    Raises:
        IdentityError: The folder belongs to another identity.
        StorageError: The disk refused.
    """
    if not has_identity(folder, identity, files):
        write_identity(folder, identity, files, report)


def has_identity(folder: Path, identity: Identity, files: FileSystem) -> bool:
    """Whether the folder has this identity. False: it has none, or a damaged one. Nothing is changed.

    Raises:
        IdentityError: The folder belongs to another identity.
        StorageError: The disk refused.
    """
    path = folder / IDENTITY_FILE
    with storage_errors("read the identity of the run", path, "Nothing in this folder was changed."):
        stored = Identity.read(path, files)
    if stored is None or stored == identity:
        return stored is not None
    raise IdentityError(
        f"The run folder {folder} belongs to identity {stored.short}, but this run is {identity.short}: "
        f"{_join_differences(stored.difference(identity))}. Nothing was changed. Next: use another folder, "
        f"or restore what differs, or remove the old state (`rm -r {folder}`)."
    )


def write_identity(folder: Path, identity: Identity, files: FileSystem, report: Callable[[str], None]) -> None:
    """Write `identity.json` where `has_identity` said that there is none, or a damaged one.

    Raises:
        StorageError: The disk refused.
    """
    path = folder / IDENTITY_FILE
    with storage_errors("write the identity of the run", path, "Checkpoints in this folder are intact."):
        if path.exists():
            report(f"{path} could not be read as an identity and is written anew.")
        replace_file(files, path, identity.text())


def _is_run_folder_of(path: Path, item: str) -> bool:
    rest = path.name.removeprefix(f"{item}-")
    return path.is_dir() and len(rest) == 12 and all(character in "0123456789abcdef" for character in rest)


def _describe_sibling(sibling: Path, folder: Path, identity: Identity) -> str:
    try:
        other = Identity.read(sibling / IDENTITY_FILE)
        differs = _join_differences(other.difference(identity)) if other else "its identity is missing or damaged"
    except OSError as error:
        differs = f"its identity cannot be read now ({errno_name(error)})"
    return (
        f"The state in {sibling} is not used for {folder.name}, because {differs}. "
        f"It is kept; remove it with `rm -r {sibling}`."
    )


def _join_differences(differences: list[str]) -> str:
    shown = "; ".join(differences[:8])
    more = f"; and {len(differences) - 8} more" if len(differences) > 8 else ""
    return f"{shown}{more}"


def _leaves(value: JSON, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _leaves(inner, f"{path}.{key}" if path else key)
    else:
        yield path, json.dumps(value, sort_keys=True)
