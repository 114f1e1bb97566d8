"""Which checkpoints are this run's, and which of them are pinned: asked for all of them after each save.

A manifest is read each time, since others may have changed it, but a text that is known is not parsed again: that of a
state of a thousand tensors takes the interpreter from the loop for milliseconds.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from unbroken.checkpoint.manifest import MANIFEST_FILE, Manifest, parse_manifest
from unbroken.errors import CheckpointError
from unbroken.filesystem import FileSystem, read_file


@dataclass(frozen=True)
class _Facts:
    step: int
    identity: str
    pinned: bool


class OwnManifests:
    """What was found in manifests, by the SHA-256 of their text."""

    def __init__(self, files: FileSystem) -> None:
        """Nothing is known yet."""
        self._files = files
        self._known: dict[bytes, _Facts] = {}

    def list_unpinned(self, folders: dict[int, Path], identity: str) -> list[int]:
        """The steps, of these, whose checkpoint is this run's and not pinned; others are forgotten."""
        before, self._known = self._known, {}
        found = [(step, self._read_facts(folder, before)) for step, folder in folders.items()]
        return [step for step, facts in found if facts == _Facts(step, identity, pinned=False)]

    def is_own(self, folder: Path, step: int, identity: str) -> bool:
        """Is it the checkpoint of that step, and of this run?"""
        facts = self._read_facts(folder, self._known)
        return facts is not None and (facts.step, facts.identity) == (step, identity)

    def is_own_pinned(self, folder: Path, step: int, identity: str) -> bool:
        """Is it, and is it pinned?"""
        return self._read_facts(folder, self._known) == _Facts(step, identity, pinned=True)

    def remember(self, manifest: Manifest, text: bytes) -> None:
        """This text is that of this manifest."""
        facts = _Facts(manifest.step, manifest.identity, manifest.pinned)
        self._known[hashlib.sha256(text).digest()] = facts

    def _read_facts(self, folder: Path, known: dict[bytes, _Facts]) -> _Facts | None:
        # What cannot be read now, or was written by another version or run, is not this run's to change.
        try:
            text = read_file(self._files, folder / MANIFEST_FILE)
            digest = hashlib.sha256(text).digest()
            if digest not in known:
                self.remember(parse_manifest(text, str(folder)), text)
            else:
                self._known[digest] = known[digest]
            return self._known[digest]
        except (CheckpointError, OSError):
            return None
