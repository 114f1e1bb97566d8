"""Histories for tests of what stores them."""

from __future__ import annotations

import hashlib
from pathlib import Path

from unbroken.run_folder.journal_writer import JournalPart


def journal_part(folder: Path, history: bytes) -> JournalPart:
    """The part of a journal that a save in this folder of checkpoints brings to the disk."""

    def make_durable(_verify: bool) -> None:
        (folder / "journal.jsonl").write_bytes(history)

    return JournalPart(len(history), hashlib.sha256(history).hexdigest(), make_durable)
