"""Named checkpoints, such as the best: each is kept until its name is given to a later step."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path

from unbroken.checkpoint.reading import PINS_FOLDER, list_steps
from unbroken.checkpoint.state import Snapshot
from unbroken.checkpoint.store import Checkpoint, CheckpointStore
from unbroken.errors import StorageError, UnbrokenError, storage_errors
from unbroken.filesystem import FileSystem, remove_tree
from unbroken.run_folder.journal_writer import JournalPart

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_UNLIMITED = 2**31


def check_pin_name(name: str) -> None:
    """Make sure that a folder may have this name.

    Raises:
        UnbrokenError: It may not.
    """
    if not (isinstance(name, str) and _NAME.fullmatch(name)):
        raise UnbrokenError(
            f"A pin was named {name!r}, expected up to 64 letters, digits, '_' and '-', of which the first is a letter "
            'or digit. Next: name it like `run.pin("best")`.'
        )


class Pins:
    """`pins/NAME/step-…/` beside the checkpoints. A run never resumes from them, so they may hold a step's end alone.

    A run that was killed goes back to its last durable step, at which its pin may have been an older one. So the pin
    that was valid then is kept until a checkpoint is durable that is as new as the later pin.
    """

    def __init__(
        self,
        folder: Path,
        identity: str,
        files: FileSystem,
        report: Callable[[str], None],
        check_owner: Callable[[], None],
    ) -> None:
        """`folder`: of the run; `identity`: its digest; `check_owner`: see `CheckpointStore`."""
        self._folder, self._identity = folder / PINS_FOLDER, identity
        self._files, self._report, self._check_owner = files, report, check_owner

    def save(self, name: str, step: int, snapshot: Snapshot, journal: JournalPart, durable: int) -> None:
        """Keep the state after `step` under a name. `durable`: the step that a killed run would go back to.

        Raises:
            StorageError: The disk refused; the pin is the one before.
        """
        with storage_errors(f"pin step {step} as {name!r}", self._folder, "The pin before it is intact."):
            store = self._store(name)
            if step not in store.steps():
                store.save(step, snapshot, self._identity, journal, pinned=True)
        self._report_refusal(lambda: self._remove_older(store, durable))

    def tidy(self, durable: int) -> None:
        """Remove what a run that goes back to `durable` does not need; what the disk refuses is reported."""
        self._report_refusal(lambda: self._remove_all_older(durable))

    def _report_refusal(self, remove: Callable[[], None]) -> None:
        try:
            with storage_errors("look for old pins", self._folder, "They stay."):
                remove()
        except StorageError as error:  # the training does not need it
            self._report(str(error))

    def _remove_all_older(self, durable: int) -> None:
        for name in self.names():
            self._remove_older(self._store(name), durable)

    @staticmethod
    def _remove_older(store: CheckpointStore, durable: int) -> None:
        for older in [step for step in store.steps() if step <= durable][:-1]:
            store.remove(older)

    def go_back_to(self, step: int) -> None:
        """The run goes on after `step`: pins of later steps are dropped, and set again when those are reached.

        Raises:
            StorageError: The disk refused.
        """
        with storage_errors("look at the pins", self._folder, "Checkpoints and journal were not touched."):
            for name in self.names():
                for rest in self._files.names(self._folder / name):
                    if rest.startswith(".tmp-"):
                        remove_tree(self._files, self._folder / name / rest)
                store = self._store(name)
                for later in [later for later in store.steps() if later > step]:
                    store.remove(later)

    def names(self) -> list[str]:
        """Every name that was given, sorted."""
        return [name for name in list_names(self._files, self._folder) if _NAME.fullmatch(name)]

    def find_step(self, name: str, step: int) -> int | None:
        """The step that has the name when the run is at `step`; None: none has.

        Raises:
            StorageError: It cannot be read now.
        """
        with storage_errors("look for a pin", self._folder / name, "It was not touched."):
            return find_pin(self._files, self._folder / name, step)

    def path(self, name: str, step: int) -> Path:
        """The folder of a pinned checkpoint."""
        return self._folder / name / f"step-{step:08d}"

    def load(self, name: str, step: int) -> Checkpoint:
        """Check every byte of one.

        Raises:
            CheckpointError: It is damaged.
            OSError: It cannot be read now.
        """
        return self._store(name).load(step, self._identity, keep=False)

    def _store(self, name: str) -> CheckpointStore:
        folder = self._folder / name
        return CheckpointStore(folder, _UNLIMITED, self._files, self._report, self._check_owner)


def list_names(files: FileSystem, folder: Path) -> list[str]:
    """What a folder has; nothing where there is no folder.

    Raises:
        OSError: It cannot be read now.
    """
    try:
        return files.names(folder)
    except FileNotFoundError:
        return []


def find_pin(files: FileSystem, folder: Path, step: int) -> int | None:
    """The newest step up to `step` in the folder of a name."""
    return max((pinned for pinned in list_steps(list_names(files, folder)) if pinned <= step), default=None)


def list_pins(files: FileSystem, folder: Path, step: int) -> Iterable[tuple[str, int]]:
    """Name and step of all pins of a run folder that are valid at `step`."""
    root = folder / PINS_FOLDER
    for name in list_names(files, root):
        if _NAME.fullmatch(name) and (pinned := find_pin(files, root / name, step)) is not None:
            yield name, pinned
