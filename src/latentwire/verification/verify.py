"""`latentwire verify`: are the results here those that were published, and do they follow from their predictions?"""

from __future__ import annotations

import tempfile
from pathlib import Path

import yaml

from latentwire.params.load import load_params
from latentwire.verification import lockfile
from latentwire.verification.outputs import output_rows
from latentwire.verification.published import LOCK, Published
from latentwire.verification.rebuild import rebuild
from latentwire.verification.rows import Row
from latentwire.verification.stages import Here, stage_rows


def verify(root: Path, published: Published) -> list[Row]:
    """Compare every stage, table and figure of a repository with the published ones."""
    values = load_params(root / "params.yaml")
    own = root / LOCK
    lock = lockfile.parse(own.read_bytes(), LOCK) if own.is_file() else {}
    raw = yaml.safe_load((root / "params.yaml").read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory(prefix="latentwire-verify-") as scratch:
        rebuilt = rebuild(root, values, Path(scratch))
        here = Here(root, lock, raw, values.verify.tolerances, rebuilt)
        return [*stage_rows(published, here), *output_rows(published, here)]
