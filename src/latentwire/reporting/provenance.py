"""`reports/provenance.json`: what the report was made from and what is in it; no clock, no host."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from latentwire.digests import sha256_of
from latentwire.reporting.checklist import list_draft_reasons
from latentwire.reporting.report_data import ReportData, Revision

SCHEMA = "latentwire-provenance/1"


def build_provenance(
    data: ReportData,
    inputs: Iterable[Path],
    outputs: dict[Path, tuple[str, ...]],
    root: Path,
    revision: Revision | None = None,
) -> dict[str, Any]:
    """Digests of `inputs` and `outputs` (paths under `root`), the ids in each, and the sources."""
    return {
        "schema": SCHEMA,
        "revision": None if revision is None else asdict(revision),
        "draft": list_draft_reasons(data, revision),
        "inputs": {path.relative_to(root).as_posix(): sha256_of(path) for path in inputs},
        "outputs": {
            path.relative_to(root).as_posix(): {"sha256": sha256_of(path), "ids": list(ids)}
            for path, ids in outputs.items()
        },
        "sources": data.stats["sources"],
        "tasks": {
            task: {name: about[name] for name in ("data_digest", "ids", "golds")}
            for task, about in data.stats["tasks"].items()
        },
    }


def recorded_revision(reports: Path) -> Revision | None:
    """The revision that `provenance.json` of a folder names; None where it names none, or there is no such file."""
    path = reports / "provenance.json"
    return parse_revision(path.read_bytes()) if path.is_file() else None


def parse_revision(record: bytes) -> Revision | None:
    """The revision that a record names, also one from before there was a digest of the tree."""
    known = json.loads(record).get("revision")
    return None if known is None else Revision(known["commit"], known["dirty"], known.get("tree"))
