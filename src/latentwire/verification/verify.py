"""`latentwire verify`: are the results here those that were published, and do they follow from their predictions?"""

from __future__ import annotations

import tempfile
from pathlib import Path

from latentwire.params.load import load_params
from latentwire.verification.lockfile import read_lock
from latentwire.verification.outputs import output_rows
from latentwire.verification.published import Published
from latentwire.verification.rebuild import rebuild_results
from latentwire.verification.rows import ResultRow
from latentwire.verification.stages import LocalResults, stage_rows
from latentwire.yaml_files import read_yaml


def verify_results(root: Path, published: Published) -> list[ResultRow]:
    """Compare every stage, table and figure of a repository with the published ones."""
    values = load_params(root / "params.yaml")
    raw = read_yaml(root / "params.yaml")
    with tempfile.TemporaryDirectory(prefix="latentwire-verify-") as scratch:
        rebuilt = rebuild_results(root, values, Path(scratch))
        local = LocalResults(root, read_lock(root), raw, values.verify.tolerances, rebuilt)
        return [*stage_rows(published, local), *output_rows(published, local)]
