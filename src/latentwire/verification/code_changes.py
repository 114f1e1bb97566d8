"""Whether the code that made a result is the code that is here."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from latentwire import digests
from latentwire.result_code import FOLDER, result_code_text
from latentwire.verification.lockfile import LockedStage

Content = Callable[[str], bytes | None]


def code_deps(stage: LockedStage) -> dict[str, str]:
    """Path → digest of all through which code comes into a stage."""
    return {path: digest for path, digest in stage.deps.items() if path.startswith(("src/", f"{FOLDER}/"))}


def changed_code(stage: LockedStage, root: Path, recorded: Content) -> list[str]:
    """What defines the results of a stage and is another code in `root` now: modules where they are known, else paths.

    Args:
        stage: As `dvc.lock` recorded it.
        root: The repository.
        recorded: The content of a path as it was recorded; None where only its digest is known.
    """
    changed: list[str] = []
    for path, digest in code_deps(stage).items():
        if _digest_now(path, root) != digest:
            changed.extend(_changed_modules(path, root, recorded(path)) or [path])
    return changed


def _digest_now(path: str, root: Path) -> str | None:
    if not path.startswith(f"{FOLDER}/"):
        return digests.dvc_digest(root / path)
    text = _text_now(path, root)
    return None if text is None else digests.md5_of_bytes(text)


def _text_now(path: str, root: Path) -> bytes | None:
    stage = Path(path).stem
    there = (root / f"src/latentwire/stages/{stage}.py").is_file()
    return result_code_text(stage, root) if there else None


def _changed_modules(path: str, root: Path, recorded: bytes | None) -> list[str]:
    now = _text_now(path, root) if path.startswith(f"{FOLDER}/") else None
    if recorded is None or now is None:
        return []
    before, after = json.loads(recorded), json.loads(now)
    return [module for module in sorted({*before, *after}) if before.get(module) != after.get(module)]
