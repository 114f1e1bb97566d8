"""The store: a checkpoint exists entirely or not at all, and is checked before it is trusted."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from unbroken.checkpoint.manifest import MANIFEST_FILE, Manifest, parse_manifest
from unbroken.checkpoint.state import Snapshot
from unbroken.checkpoint.tensorfile import read_tensors, tensor_spec, verify_tensors, write_tensors
from unbroken.checkpoint.tree import Decoder
from unbroken.errors import CheckpointError, IdentityError, StorageError, errno_name, log_sentence, storage_errors
from unbroken.filesystem import FileSystem, read_file, remove_tree, sync_folder, write_durably
from unbroken.run_folder.journal import JOURNAL_FILE

TENSORS_FILE = "tensors.safetensors"
CHECKPOINT_FILES = (MANIFEST_FILE, TENSORS_FILE, JOURNAL_FILE)
_STEP = re.compile(r"step-(\d{8,18})")
_TEMPORARY = ".tmp-step-"
_BAD = re.compile(r"bad-step-(\d+)-.*?(?:-(\d+))?")
KEPT_BAD = 3
"""Checkpoints that were set aside and are kept to be looked at, those of the highest steps."""


@dataclass(frozen=True)
class Checkpoint:
    """A verified checkpoint. `snapshot.tensors` is empty when it was only verified."""

    path: Path
    manifest: Manifest
    snapshot: Snapshot
    journal: bytes

    @property
    def step(self) -> int:
        """The last step that is in it."""
        return self.manifest.step

    def state(self, name: str) -> Any:
        """What `state_dict` of one object gave.

        Raises:
            CheckpointError: No object has this name.
        """
        tree = self.manifest.tree
        if not isinstance(tree, dict) or name not in tree:
            held = ", ".join(tree) if isinstance(tree, dict) else "no state"
            raise CheckpointError(f"{self.path} holds {held}, expected {name} among it.")
        return Decoder(self.snapshot.tensors).decode(tree[name])


def load_checkpoint(folder: Path) -> Checkpoint:
    """Read a checkpoint folder for what is in it, such as the export of a finished run, and check every byte.

    Raises:
        CheckpointError: It is missing or damaged.
    """
    files = FileSystem()
    try:
        return _read_verified(files, folder, _read_manifest(files, folder), keep=True)
    except OSError as error:
        raise CheckpointError(
            f"No checkpoint could be read from {folder} ({errno_name(error)}); expected {', '.join(CHECKPOINT_FILES)} "
            "there. Next: run the training that writes it."
        ) from error


def _read_manifest(files: FileSystem, folder: Path, from_disk: bool = False) -> Manifest:
    path = folder / MANIFEST_FILE
    return parse_manifest(read_file(files, path, from_disk), str(path))


def _read_verified(files: FileSystem, folder: Path, manifest: Manifest, keep: bool) -> Checkpoint:
    journal = read_file(files, folder / JOURNAL_FILE)
    if (len(journal), hashlib.sha256(journal).hexdigest()) != manifest.journal:
        raise CheckpointError(f"{folder / JOURNAL_FILE} is not the one that was stored.", "journal")
    tensors = read_tensors(files, folder / TENSORS_FILE, manifest.specs, manifest.digests, keep)
    return Checkpoint(folder, manifest, Snapshot(tensors, manifest.tree), journal)


def _bad_checkpoint_order(name: str) -> tuple[int, int]:
    match = _BAD.fullmatch(name)
    return (int(match[1]), int(match[2] or 1)) if match else (0, 0)


class CheckpointStore:
    """Folders `step-00000040/` with tensors.safetensors, journal.jsonl and manifest.json.

    The caller holds the lock of the run folder: there is one writer.
    """

    def __init__(
        self,
        folder: Path,
        keep: int = 3,
        files: FileSystem | None = None,
        report: Callable[[str], None] = log_sentence,
        check_owner: Callable[[], None] = lambda: None,
    ) -> None:
        """Make the folder and remove what a killed save left in it.

        Args:
            folder: Of the checkpoints.
            keep: How many unpinned checkpoints are kept, at least 1.
            files: The file system; replaced only to inject faults.
            report: Receives a sentence about each checkpoint that is set aside or cannot be removed.
            check_owner: Raises when the folder may be another's by now; called before each change of it.

        Raises:
            StorageError: The disk refused.
            ValueError: `keep` is less than 1.
        """
        if keep < 1:
            raise ValueError(f"keep must be at least 1, got {keep}: a run without checkpoints cannot resume")
        self.folder = folder
        self._keep = keep
        self._files = files or FileSystem()
        self._report = report
        self._check_owner = check_owner
        with storage_errors("open the checkpoint store", folder, "Checkpoints in it are intact."):
            folder.mkdir(parents=True, exist_ok=True)
            sync_folder(self._files, folder.parent)
            for name in self._files.names(folder):
                if name.startswith(_TEMPORARY):
                    remove_tree(self._files, folder / name)

    def steps(self) -> list[int]:
        """Steps that have a checkpoint folder, ascending; it may still turn out to be damaged."""
        matches = (_STEP.fullmatch(name) for name in self._files.names(self.folder))
        return sorted(int(match[1]) for match in matches if match)

    def path(self, step: int) -> Path:
        """The folder of a step's checkpoint."""
        return self.folder / f"step-{step:08d}"

    def save(
        self,
        step: int,
        snapshot: Snapshot,
        identity: str,
        journal: bytes = b"",
        pinned: bool = False,
        verify: bool = True,
    ) -> Path:
        """Write, make durable, commit by one rename, verify by reading back, and only then remove older ones.

        `identity` is a digest of 64 hex; `pinned` protects from rotation. Without `verify`, for a caller in a hurry,
        nothing is removed and the next load checks.

        Raises:
            StorageError: The disk refused; older checkpoints are intact.
            UnbrokenError: What `check_owner` raises.
        """
        temporary = self.folder / f"{_TEMPORARY}{step:08d}"
        try:
            with storage_errors(f"save the checkpoint of step {step}", self.folder, self._intact_sentence(step)):
                self._check_owner()
                self._write(temporary, step, snapshot, identity, journal, pinned)
                self._check_owner()
                self._commit(temporary, self.path(step))
        except (StorageError, CheckpointError):
            self._check_owner()
            self._discard(temporary)
            raise
        if verify:
            self._verify(step, snapshot, journal)
            self._check_owner()
            self._rotate()
            self._remove_old_bad()
        return self.path(step)

    def pin(self, step: int) -> None:
        """Protect a checkpoint from rotation that was read, or read back, before. Its state is not written again.

        Raises:
            StorageError: The disk refused.
        """
        self._check_owner()
        with storage_errors(f"pin the checkpoint of step {step}", self.path(step), "It is intact."):
            self._set_pinned(step, True)

    def unpin_older(self, step: int) -> None:
        """Give those before `step`, which was read or read back, to the rotation. What the disk refuses is reported."""
        self._check_owner()
        try:
            pinned = [older for older in self.steps() if older < step and self._is_pinned(older)]
        except OSError as error:
            self._report(f"Old final checkpoints in {self.folder} were not looked for: {errno_name(error)}.")
            return
        for older in pinned:
            self._unpin(older)
        if pinned:
            self._rotate()

    def latest_good(self, identity: str) -> Checkpoint | None:
        """The newest checkpoint that is whole; damaged ones are set aside and reported. None: start afresh.

        Raises:
            IdentityError: A whole checkpoint belongs to another run.
            StorageError: The folder cannot be listed.
        """
        with storage_errors("list the checkpoints", self.folder, "Checkpoints in it are intact."):
            steps = self.steps()
        for step in reversed(steps):
            try:
                return self.load(step, identity)
            except CheckpointError as error:
                self._set_aside(self.path(step), error.why, f"{error} The next older checkpoint is tried.")
            except OSError as error:
                sentence = f"{self.path(step)}: {errno_name(error)}. The next older checkpoint is tried."
                self._set_aside(self.path(step), "unreadable", sentence)
        return None

    def load(self, step: int, identity: str, keep: bool = True) -> Checkpoint:
        """Read one checkpoint and check every byte; `keep=False` does not keep its tensors.

        Raises:
            CheckpointError: It is missing or damaged.
            IdentityError: It belongs to another run.
            OSError: It cannot be read.
        """
        try:
            return self._load(self.path(step), step, identity, keep)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise CheckpointError(f"{error.filename} is missing.", "incomplete") from error

    def _load(self, path: Path, step: int, identity: str, keep: bool) -> Checkpoint:
        manifest = _read_manifest(self._files, path)
        if manifest.step != step:
            raise CheckpointError(f"{path} holds step {manifest.step}, expected {step}.", "replayed")
        if manifest.identity != identity:
            raise IdentityError(
                f"The checkpoint {path} belongs to identity {manifest.identity[:12]}, but this run is "
                f"{identity[:12]}. Nothing was changed. Next: use another folder, or `rm -r {path}`."
            )
        return _read_verified(self._files, path, manifest, keep)

    def _write(self, folder: Path, step: int, snapshot: Snapshot, identity: str, journal: bytes, pinned: bool) -> None:
        remove_tree(self._files, folder)
        self._files.make_folder(folder)
        specs = {name: tensor_spec(tensor, name) for name, tensor in snapshot.tensors.items()}
        digests = write_tensors(self._files, folder / TENSORS_FILE, snapshot.tensors)
        write_durably(self._files, folder / JOURNAL_FILE, len(journal), [journal])
        seal = (len(journal), hashlib.sha256(journal).hexdigest())
        text = Manifest(step, pinned, identity, snapshot.tree, specs, digests, seal).text()
        write_durably(self._files, folder / MANIFEST_FILE, len(text), [text])
        sync_folder(self._files, folder)

    def _commit(self, temporary: Path, target: Path) -> None:
        if target.exists():
            self._set_aside(target, "superseded", f"{target} is written again.")
        self._files.rename(temporary, target)
        sync_folder(self._files, self.folder)

    def _verify(self, step: int, snapshot: Snapshot, journal: bytes) -> None:
        path = self.path(step)
        try:
            _read_manifest(self._files, path, from_disk=True)  # it has its own seal
            if read_file(self._files, path / JOURNAL_FILE, from_disk=True) != journal:
                raise CheckpointError(f"{path / JOURNAL_FILE} is not the one that was written.", "journal")
            verify_tensors(self._files, path / TENSORS_FILE, snapshot.tensors)
        except (CheckpointError, OSError) as error:
            self._check_owner()
            why = error.why if isinstance(error, CheckpointError) else "unreadable"
            self._set_aside(self.path(step), why, str(error))
            raise StorageError(
                f"The checkpoint of step {step} was written to {self.folder} but does not read back as written: "
                f"{error} {self._intact_sentence(step)} Next: check the disk (`dmesg | tail`), then run the same "
                f"command again."
            ) from error

    def _rotate(self) -> None:
        try:
            unpinned = [step for step in self.steps() if not self._is_pinned(step)]
        except OSError as error:
            self._report(f"Old checkpoints in {self.folder} were not looked for: {errno_name(error)}.")
            return
        for step in unpinned[: -self._keep]:
            self._remove(self.path(step), "old checkpoint")

    def _unpin(self, step: int) -> None:
        try:
            self._set_pinned(step, False)
        except (CheckpointError, OSError) as error:
            why = errno_name(error) if isinstance(error, OSError) else str(error)
            self._report(f"The checkpoint of step {step} is no longer the final one, but stays marked so: {why}.")

    def _set_pinned(self, step: int, pinned: bool) -> None:
        manifest = _read_manifest(self._files, self.path(step))
        if manifest.pinned == pinned:
            return
        # Prepared beside the checkpoint, where a start removes what a kill left: a checkpoint has three files.
        text, temporary = (
            replace(manifest, pinned=pinned).text(),
            self.folder / f"{_TEMPORARY}{step:08d}-{MANIFEST_FILE}",
        )
        remove_tree(self._files, temporary)
        write_durably(self._files, temporary, len(text), [text])
        self._files.rename(temporary, self.path(step) / MANIFEST_FILE)
        sync_folder(self._files, self.path(step))

    def _remove_old_bad(self) -> None:
        """Called when a newer checkpoint has just been verified: what was set aside is now evidence, not a way back."""
        try:
            names = [name for name in self._files.names(self.folder) if _BAD.match(name)]
        except OSError as error:
            self._report(f"Checkpoints set aside in {self.folder} were not looked for: {errno_name(error)}.")
            return
        for name in sorted(names, key=_bad_checkpoint_order)[:-KEPT_BAD]:
            if self._remove(self.folder / name, "checkpoint set aside as"):
                self._report(f"{self.folder / name} was removed: of the checkpoints set aside, {KEPT_BAD} are kept.")

    def _remove(self, path: Path, what: str) -> bool:
        # Renamed first: a kill half-way through leaves a temporary folder, not a damaged checkpoint.
        doomed = self.folder / f"{_TEMPORARY}{path.name}-old"
        try:
            self._files.rename(path, doomed)
            remove_tree(self._files, doomed)
        except OSError as error:
            self._report(f"The {what} {path} could not be removed: {errno_name(error)}.")
            return False
        return True

    def _is_pinned(self, step: int) -> bool:
        path = self.path(step) / MANIFEST_FILE
        try:
            return parse_manifest(read_file(self._files, path), str(path)).pinned
        except (CheckpointError, OSError):
            return False

    def _set_aside(self, path: Path, why: str, sentence: str) -> None:
        target, count = path.with_name(f"bad-{path.name}-{why}"), 1
        while target.exists():
            count += 1
            target = path.with_name(f"bad-{path.name}-{why}-{count}")
        try:
            self._files.rename(path, target)
            kept = f"It is kept as {target}"
        except OSError as error:
            kept = f"It stays where it is, because it could not be renamed: {errno_name(error)}"
        self._report(f"{sentence} {kept} and is not used.")

    def _discard(self, temporary: Path) -> None:
        try:
            remove_tree(self._files, temporary)
        except OSError as error:
            self._report(f"{temporary} could not be removed now ({errno_name(error)}); the next start removes it.")

    def _intact_sentence(self, step: int) -> str:
        try:
            older = [known for known in self.steps() if known < step]
        except OSError:
            return "Older checkpoints were not touched."
        return f"The checkpoint of step {older[-1]} is intact." if older else "No older checkpoint exists."
