"""Whether the code that made a result is the code that is here."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path

from latentwire import digests
from latentwire.result_code import FOLDER, result_code_text
from latentwire.verification.lockfile import LockedStage

Content = Callable[[str], bytes | None]


def code_deps(stage: LockedStage) -> dict[str, str]:
    """Path → digest of all through which code comes into a stage."""
    return {path: digest for path, digest in stage.deps.items() if path.startswith(("src/", f"{FOLDER}/"))}


class CodeNow:
    """The code that is in a repository. It takes seconds to read, and is read once: make one anew for every command."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._digest, self._text = cache(self._read_digest), cache(self._read_text)

    def find_changes(self, stage: LockedStage, recorded: Content) -> list[str]:
        """What defines the results of a stage and is another code now: modules where they are known, else paths.

        Args:
            stage: As `dvc.lock` recorded it.
            recorded: The content of a path as it was recorded; None where only its digest is known.
        """
        changed: list[str] = []
        for path, digest in code_deps(stage).items():
            if self._digest(path) != digest:
                changed.extend(self._changed_modules(path, recorded(path)) or [path])
        return changed

    def _read_digest(self, path: str) -> str | None:
        if not path.startswith(f"{FOLDER}/"):
            return digests.dvc_digest(self._root / path)
        text = self._text(path)
        return None if text is None else digests.md5_of_bytes(text)

    def _read_text(self, path: str) -> bytes | None:
        stage = Path(path).stem
        there = (self._root / f"src/latentwire/stages/{stage}.py").is_file()
        return result_code_text(stage, self._root) if there else None

    def _changed_modules(self, path: str, recorded: bytes | None) -> list[str]:
        now = self._text(path) if path.startswith(f"{FOLDER}/") else None
        if recorded is None or now is None:
            return []
        before, after = json.loads(recorded), json.loads(now)
        return [module for module in sorted({*before, *after}) if before.get(module) != after.get(module)]
