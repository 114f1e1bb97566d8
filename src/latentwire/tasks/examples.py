"""An example, its identity, and the file that holds a task's examples."""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq

from latentwire.output_files import replace_file

Split = Literal["train", "validation", "test"]

SPLITS: tuple[Split, ...] = ("train", "validation", "test")

_SCHEMA = pa.schema([(column, pa.string()) for column in ("example_id", "split", "text", "label")])


@dataclass(frozen=True)
class Example:
    """A text with its label, in one split."""

    example_id: str
    """16 hexadecimal digits, see `example_id`."""
    split: Split
    text: str
    """NFC, runs of white space collapsed to one space."""
    label: str
    """Label key as in params.yaml, not the label's words."""


def clean_text(text: str) -> str:
    """The text as every method reads it: Unicode NFC, white space collapsed and stripped."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def example_id(text: str) -> str:
    """Identity of a text: SHA-256 of its cleaned, case-folded form, so that trivial variants are one example."""
    # Case folding can undo NFC, so the form is composed again after it.
    folded = unicodedata.normalize("NFC", clean_text(text).casefold())
    return hashlib.sha256(folded.encode("utf-8")).hexdigest()[:16]


def split_position(identity: str) -> float:
    """Where an id lies in [0, 1); uniform over texts, and all that decides an example's split."""
    # 53 bits fit a float exactly, so no id is rounded up to 1.
    return (int(identity, 16) >> 11) / 2**53


def digest_examples(examples: Iterable[Example]) -> str:
    """SHA-256 over examples in their order; does not depend on the parquet library's version."""
    result = hashlib.sha256()
    for example in examples:
        result.update(json.dumps(asdict(example), sort_keys=True, ensure_ascii=False).encode("utf-8") + b"\n")
    return result.hexdigest()


def write_examples(examples: list[Example], path: Path) -> None:
    """Write a parquet file whose bytes depend on the examples and the library's version only."""
    with replace_file(path) as partial:
        pq.write_table(pa.Table.from_pylist([asdict(example) for example in examples], schema=_SCHEMA), partial)


def read_examples(path: Path) -> list[Example]:
    """Read a file of `write_examples`, in the order written."""
    return [Example(**row) for row in pq.read_table(path, schema=_SCHEMA).to_pylist()]
