"""A row per table and figure: is it the published one, and does it follow from the predictions?"""

from __future__ import annotations

import hashlib
import importlib.metadata
import re
from pathlib import Path
from typing import Any

from latentwire import digests
from latentwire.verification.differences import first_difference
from latentwire.verification.local_results import LocalResults
from latentwire.verification.lockfile import say_how_to_get
from latentwire.verification.published import PROVENANCE, Published
from latentwire.verification.rows import ResultRow, Status

KINDS = {"tables": "table", "figures": "figure"}
DRAWN = (".pdf", ".png", ".svg")
PREDICTED = "by the predictions"


def output_rows(published: Published, local: LocalResults) -> list[ResultRow]:
    """One row per published file of the report, and one for each table or figure that was not published."""
    if published.record is None:
        why = f"{published.label} has no {PROVENANCE}, which has the digests of tables and figures. "
        why += say_how_to_get(local.root)
        return [ResultRow("paper", PROVENANCE, Status.NOT_VERIFIABLE, why)]
    outputs = published.provenance["outputs"]
    rows = [_row(name, facts, published, local) for name, facts in outputs.items()]
    rows.append(_provenance_row(published.record, published, local))
    here_now = {
        path.relative_to(local.root).as_posix() for kind in KINDS for path in _files(local.root / "reports" / kind)
    }
    return rows + [
        ResultRow(output_kind(name), name, Status.CONTRADICTED, f"{name} was not published")
        for name in sorted(here_now - set(outputs))
    ]


def output_kind(name: str) -> str:
    """`table`, `figure`, or `paper` for everything else of the report."""
    return KINDS.get(Path(name).parent.name, "paper")


def _row(name: str, facts: dict[str, Any], published: Published, local: LocalResults) -> ResultRow:
    path, kind = local.root / name, output_kind(name)
    if not path.is_file():
        return ResultRow(kind, name, Status.NOT_VERIFIABLE, f"{name} is missing. {say_how_to_get(local.root)}")
    same = digests.sha256_of(path) == facts["sha256"]
    unlike = _unlike_rebuilt(name, path, local)
    if unlike is None and same:
        return ResultRow(kind, name, Status.IDENTICAL)
    if unlike is None:
        return _other_predictions_row(name, list(facts["ids"]), published, local)
    if same and local.rebuilt.report and path.suffix in DRAWN and not draws_as_locked(local.root):
        why = f"{unlike}; matplotlib is not the version of requirements.lock"
        return ResultRow(kind, name, Status.NOT_VERIFIABLE, why)
    changed = "" if same else f"; {published_difference(name, published, path)}"
    status = Status.NOT_VERIFIABLE if same and local.rebuilt.report is None else Status.CONTRADICTED
    return ResultRow(kind, name, status, unlike + changed)


def _unlike_rebuilt(name: str, path: Path, local: LocalResults) -> str | None:
    """How a file differs from the one rebuilt from the predictions; None where it does not."""
    if local.rebuilt.report is None:
        return f"it cannot be built again: {local.rebuilt.refusal}"
    again = local.rebuilt.report / name
    if not again.is_file():
        return f"{name} is not a file of this report"
    before, after = again.read_bytes(), path.read_bytes()
    return None if before == after else f"{name}: {first_difference(name, before, after, PREDICTED)}"


def published_difference(name: str, published: Published, path: Path) -> str:
    """How a file differs from the published one."""
    before = published.content(name)
    return "other bytes than published" if before is None else first_difference(name, before, path.read_bytes())


def _other_predictions_row(name: str, ids: list[str], published: Published, local: LocalResults) -> ResultRow:
    """The row of a file that follows from the predictions here, which are not the published ones."""
    kind = output_kind(name)
    what = published_difference(name, published, local.root / name)
    # A file without ids, such as the text, stands for all.
    status, why = local.about(ids or None)
    return ResultRow(kind, name, status, f"{what}; {why}" if why else what)


def _provenance_row(record: bytes, published: Published, local: LocalResults) -> ResultRow:
    return _row(PROVENANCE, {"sha256": hashlib.sha256(record).hexdigest(), "ids": []}, published, local)


def draws_as_locked(root: Path) -> bool:
    """Whether matplotlib is the version in `requirements.lock`: another version draws other bytes."""
    lock = root / "requirements.lock"
    pin = re.search(r"^matplotlib==(\S+)", lock.read_text(encoding="utf-8"), re.M) if lock.is_file() else None
    return pin is None or pin.group(1) == importlib.metadata.version("matplotlib")


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()] if folder.is_dir() else []
