"""A task as `prepare` stored it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from latentwire.errors import ConfigurationError
from latentwire.tasks.examples import Example, Split, read_examples

FOLDER = Path("results/prepare")
MODELS = FOLDER / "models.json"
"""The record of the frozen models."""


@dataclass(frozen=True)
class StoredTask:
    """Examples of all splits, in stored order."""

    name: str
    examples: Sequence[Example]
    digest: str
    """SHA-256 over the examples."""

    @classmethod
    def open(cls, name: str, root: Path = Path()) -> StoredTask:
        """Read a task from the results in `root`.

        Raises:
            ConfigurationError: `prepare` has not stored it.
        """
        folder = root / FOLDER / name
        if not (folder / "examples.parquet").is_file():
            raise ConfigurationError(
                f"No examples.parquet in {folder}; expected the examples of task {name}. Next: `dvc repro prepare`."
            )
        digest = json.loads((folder / "task.json").read_text(encoding="utf-8"))["digest"]
        return cls(name, read_examples(folder / "examples.parquet"), digest)

    def split(self, name: Split) -> list[Example]:
        """The examples of one split."""
        return [example for example in self.examples if example.split == name]
