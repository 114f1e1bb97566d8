"""The store: a checkpoint exists entirely or not at all, and is checked before it is trusted."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from unbroken import environment
from unbroken.checkpoint.manifest import MANIFEST_FILE
from unbroken.checkpoint.own_manifests import OwnManifests
from unbroken.checkpoint.reading import (
    CHECKPOINT_FILES,
    TENSORS_FILE,
    Checkpoint,
    is_proven_absent,
    list_steps,
    load_checkpoint,
    read_manifest,
    read_verified,
)
from unbroken.checkpoint.state import Snapshot
from unbroken.checkpoint.writing import Written, verify_checkpoint, write_checkpoint
from unbroken.errors import (
    CheckpointError,
    DamagedError,
    IdentityError,
    StorageError,
    errno_name,
    log_sentence,
    storage_errors,
)
from unbroken.filesystem import FileSystem, remove_tree, sync_folder, write_durably
from unbroken.run_folder.journal_writer import JournalPart
from unbroken.run_folder.stored_journal import NO_HISTORY

__all__ = ["CHECKPOINT_FILES", "TENSORS_FILE", "Checkpoint", "CheckpointStore", "load_checkpoint"]

_TEMPORARY = ".tmp-step-"
_BAD = re.compile(r"bad-step-(\d+)-.*?(?:-(\d+))?")
_PROVEN = "manifest|journal|size|header|digest|incomplete|replayed|replaced|superseded"
_PROVEN_BAD = re.compile(rf"bad-step-\d+-({_PROVEN})(-\d+)?")
_IS_OF_CHECKPOINT = re.compile(rf"step-\d|bad-step-\d|{re.escape(_TEMPORARY)}.*-old$")
KEPT_BAD = 3
"""Checkpoints that were set aside as proven bad and are kept to be looked at, those of the highest steps."""


def _bad_checkpoint_order(name: str) -> tuple[int, int]:
    match = _BAD.fullmatch(name)
    return (int(match[1]), int(match[2] or 1)) if match else (0, 0)


class CheckpointStore:
    """Folders `step-00000040/` with tensors.safetensors and manifest.json; beside them the history, in one file.

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
        """Make the folder.

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
        self.good_step: int | None = None
        """The newest checkpoint that this process has read as good; no older one goes without it."""
        self.keep = keep
        self._files = files or FileSystem()
        self._report = report
        self.check_owner = check_owner
        self._damaged: list[tuple[Path, str, str]] = []
        self._leftovers: list[str] = []
        self._manifests = OwnManifests(self._files)
        self._identity = ""
        with storage_errors("open the checkpoint store", folder, "Checkpoints in it are intact."):
            folder.mkdir(parents=True, exist_ok=True)
            sync_folder(self._files, folder.parent)

    def steps(self) -> list[int]:
        """Steps that have a checkpoint folder, ascending; it may still turn out to be damaged."""
        return list_steps(self._files.names(self.folder))

    def path(self, step: int) -> Path:
        """The folder of a step's checkpoint."""
        return self.folder / f"step-{step:08d}"

    def save(
        self,
        step: int,
        snapshot: Snapshot,
        identity: str,
        journal: JournalPart | None = None,
        pinned: bool = False,
        verify: bool = True,
    ) -> Path:
        """Write, make durable, commit by one rename, verify by reading back, and only then remove older ones.

        The history is durable before the checkpoint that relies on it. `identity` is a digest of 64 hex; `pinned`
        protects from rotation. Without `verify`, for a caller in a hurry, nothing is removed and the next load checks.

        Raises:
            StorageError: The disk refused; older checkpoints are intact.
            UnbrokenError: What `check_owner` raises.
        """
        self._identity = identity
        temporary = self.folder / f"{_TEMPORARY}{step:08d}"
        try:
            with storage_errors(f"save the checkpoint of step {step}", self.folder, self._intact_sentence(step)):
                self.check_owner()
                if journal:
                    journal.make_durable(verify)
                seal = (journal.size, journal.sha256) if journal else NO_HISTORY
                remove_tree(self._files, temporary)
                written = write_checkpoint(
                    self._files, temporary, snapshot, step=step, pinned=pinned, identity=identity, journal=seal
                )
                self.check_owner()
                self._commit(temporary, self.path(step))
        except (StorageError, CheckpointError):
            self.check_owner()
            self._discard(temporary)
            raise
        if verify:
            self._verify(step, written)
            self._manifests.remember(written.manifest, written.text)
            self.good_step = step
            self.check_owner()
            self._rotate()
            self._remove_old_bad()
        return self.path(step)

    def pin(self, step: int) -> None:
        """Protect a checkpoint from rotation that was read, or read back, before. Its state is not written again.

        Raises:
            StorageError: The disk refused.
        """
        self.check_owner()
        with storage_errors(f"pin the checkpoint of step {step}", self.path(step), "It is intact."):
            self._set_pinned(step, True)

    def unpin_older(self, step: int) -> None:
        """Give those before `step`, which was read or read back, to the rotation. What the disk refuses is reported."""
        self.check_owner()
        try:
            known = [older for older in self.steps() if older < step]
        except OSError as error:
            self._report(f"Old final checkpoints in {self.folder} were not looked for: {errno_name(error)}.")
            return
        pinned = [older for older in known if self._manifests.is_own_pinned(self.path(older), older, self._identity)]
        for older in pinned:
            self._unpin(older)
        if pinned:
            self._rotate()

    def remove(self, step: int) -> None:
        """Remove a checkpoint that nobody needs; what the disk refuses is reported."""
        self.check_owner()
        self._remove(self.path(step), "old checkpoint")

    def latest_good(self, identity: str, start_over: bool = False) -> Checkpoint | None:
        """`find_latest_good`, then `tidy`."""
        checkpoint = self.find_latest_good(identity, start_over)
        self.tidy()
        return checkpoint

    def find_latest_good(self, identity: str, start_over: bool = False) -> Checkpoint | None:
        """The newest checkpoint that is whole; None: start afresh. Nothing is changed before `tidy` is called.

        `start_over`: the user's word to start afresh in a folder that has checkpoints, none of which is whole.

        Raises:
            IdentityError: A whole checkpoint belongs to another run.
            CheckpointError: Another version wrote the newest; or none is whole, and the user did not say `start_over`.
            StorageError: The newest cannot be read now, so nobody knows whether it is whole.
        """
        intact = "Checkpoints and journal were not touched; without this checkpoint the run goes on from an older one."
        with storage_errors("list the checkpoints", self.folder, "Checkpoints and journal were not touched."):
            names = self._files.names(self.folder)
        self._identity = identity
        self._damaged, self._leftovers = [], [name for name in names if name.startswith(_TEMPORARY)]
        for step in reversed(list_steps(names)):
            try:
                with storage_errors("read the checkpoint", self.path(step), intact):
                    checkpoint, self.good_step = self.load(step, identity), step
                return checkpoint
            except DamagedError as error:
                self._damaged.append((self.path(step), error.why, str(error)))
        stored = [name for name in names if _IS_OF_CHECKPOINT.match(name)]
        if stored and not start_over:
            raise self._no_whole_checkpoint(stored)
        if stored:
            self._leftovers = []
        return None

    def tidy(self) -> None:
        """Set aside and report what was found damaged, and remove what a killed save left beside a whole checkpoint.

        Called when it is known from where the run goes on: until then the leftovers may be all that there is.
        """
        for path, why, sentence in self._damaged:
            self._set_aside(path, why, f"{sentence} The next older checkpoint is tried.")
        self._damaged = []
        for name in self._leftovers:
            self._discard(self.folder / name)
        self._leftovers = []

    def spare_steps(self, spares_keep: bool) -> list[int]:
        """What may go for lack of space, ascending: not pinned, older than the newest good one (`spares_keep`: and
        beyond `keep`). It is empty where the folder cannot be listed."""
        with suppress(OSError):
            known = [step for step in self._unpinned_steps() if step <= (self.good_step or 0)]
            return known[: -self.keep] if spares_keep else [step for step in known if step != self.good_step]
        return []

    def remove_spare(self, step: int) -> bool:
        """Remove one of `spare_steps`, if the newest good checkpoint is there; False: it stays, which is reported."""
        self.check_owner()
        good = self.good_step
        has_good = good is not None and self._manifests.is_own(self.path(good), good, self._identity)
        return has_good and self._remove(self.path(step), "old checkpoint")

    def _no_whole_checkpoint(self, names: list[str]) -> CheckpointError:
        for path, _, sentence in self._damaged:
            self._report(f"{sentence} It stays where it is ({path}).")
        return CheckpointError(
            f"The folder {self.folder} has checkpoints ({', '.join(names[:4])}{' …' if len(names) > 4 else ''}), but "
            f"none is whole, and nobody said that the run may start afresh. Nothing was renamed or removed. Next: put "
            f"back a whole copy of one; or, to start from step 0 on purpose, run the same command once with "
            f"`{environment.START_OVER}=1`: damaged ones are then set aside."
        )

    def load(self, step: int, identity: str, keep: bool = True) -> Checkpoint:
        """Read one checkpoint and check every byte; `keep=False` does not keep its tensors.

        Raises:
            DamagedError: Its content is proven wrong, or one of its files is missing.
            CheckpointError: Another version wrote it.
            IdentityError: It belongs to another run.
            OSError: It cannot be read now.
        """
        try:
            return self._load(self.path(step), step, identity, keep)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
            if is_proven_absent(self._files, self.path(step), error):
                raise DamagedError(f"{error.filename} is missing, or is not a file.", "incomplete") from None
            raise

    def _load(self, path: Path, step: int, identity: str, keep: bool) -> Checkpoint:
        manifest = read_manifest(self._files, path)
        if manifest.step != step:
            raise DamagedError(f"{path} holds step {manifest.step}, expected {step}.", "replayed")
        if manifest.identity != identity:
            raise IdentityError(
                f"The checkpoint {path} belongs to identity {manifest.identity[:12]}, but this run is "
                f"{identity[:12]}. Nothing was changed. Next: use another folder, or `rm -r {path}`."
            )
        return read_verified(self._files, path, manifest, keep)

    def _commit(self, temporary: Path, target: Path) -> None:
        if target.exists():
            self._set_aside(target, "superseded", f"{target} is written again.")
        self._files.rename(temporary, target)
        sync_folder(self._files, self.folder)

    def _verify(self, step: int, written: Written) -> None:
        try:
            verify_checkpoint(self._files, self.path(step), written)
        except OSError as error:
            raise StorageError(
                f"The checkpoint of step {step} was written to {self.folder} but could not be read back: the system "
                f"answered {errno_name(error)}. It stays there, and the next start checks it. "
                f"{self._intact_sentence(step)} Next: check the disk (`dmesg | tail`), then run the same command again."
            ) from None
        except CheckpointError as error:
            self.check_owner()
            self._set_aside(self.path(step), error.why, str(error))
            raise StorageError(
                f"The checkpoint of step {step} was written to {self.folder} but does not read back as written: "
                f"{error} {self._intact_sentence(step)} Next: check the disk (`dmesg | tail`), then run the same "
                f"command again."
            ) from None

    def _rotate(self) -> None:
        try:
            unpinned = self._unpinned_steps()
        except OSError as error:
            self._report(f"Old checkpoints in {self.folder} were not looked for: {errno_name(error)}.")
            return
        for step in unpinned[: -self.keep]:
            if step < (self.good_step or 0):
                self._remove(self.path(step), "old checkpoint")

    def _unpinned_steps(self) -> list[int]:
        return self._manifests.list_unpinned({step: self.path(step) for step in self.steps()}, self._identity)

    def _unpin(self, step: int) -> None:
        try:
            self._set_pinned(step, False)
        except (CheckpointError, OSError) as error:
            why = errno_name(error) if isinstance(error, OSError) else str(error)
            self._report(f"The checkpoint of step {step} is no longer the final one, but stays marked so: {why}.")

    def _set_pinned(self, step: int, pinned: bool) -> None:
        manifest = read_manifest(self._files, self.path(step))
        if manifest.pinned == pinned:
            return
        # Prepared beside the checkpoint, where a start removes what a kill left: a checkpoint has two files.
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
            names = [name for name in self._files.names(self.folder) if _PROVEN_BAD.fullmatch(name)]
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
