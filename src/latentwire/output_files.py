"""Results are put in place, never written through: what stands there may be a link into DVC's cache."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replace_file(path: Path) -> Iterator[Path]:
    """Give a file beside `path` to be written, which takes its place at the end; nothing changes after an error.

    With `cache.type symlink` or `hardlink` in DVC's configuration, `path` and DVC's copy of an older result are one
    file: writing into it would damage that result for every commit.
    """
    partial = path.with_name(f".partial-{path.name}")
    partial.unlink(missing_ok=True)
    try:
        yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def write_text_file(path: Path, text: str) -> Path:
    """Put a text in place, in UTF-8; return its path."""
    with replace_file(path) as partial:
        partial.write_text(text, encoding="utf-8")
    return path
