"""A row per table and figure: is it what was published, and what the predictions give?"""

from __future__ import annotations

import hashlib
import importlib.metadata
import re
from pathlib import Path
from typing import Any

from latentwire import digests
from latentwire.verification.differences import first_difference
from latentwire.verification.published import PROVENANCE, Published
from latentwire.verification.rows import Row, Status
from latentwire.verification.stages import Here
from latentwire.verification.tolerance import Unknown, exceeding, of_statistics, other_verdict

KINDS = {"tables": "table", "figures": "figure"}
DRAWN = (".pdf", ".png", ".svg")
PREDICTED = "by the predictions"


def output_rows(published: Published, here: Here) -> list[Row]:
    """One row per published file of the report, and one for each table or figure that was not published."""
    if published.record is None:
        why = f"{published.label} has no {PROVENANCE}, which has the digests of tables and figures. Next: `dvc pull`"
        return [Row("paper", PROVENANCE, Status.NOT_VERIFIABLE, why)]
    outputs = published.provenance["outputs"]
    rows = [_row(name, facts, published, here) for name, facts in outputs.items()]
    rows.append(_record_row(published.record, published, here))
    here_now = {
        path.relative_to(here.root).as_posix() for kind in KINDS for path in _files(here.root / "reports" / kind)
    }
    return rows + [
        Row(kind_of(name), name, Status.DIFFERS, f"{name} was not published")
        for name in sorted(here_now - set(outputs))
    ]


def kind_of(name: str) -> str:
    """`table`, `figure`, or `paper` for everything else of the report."""
    return KINDS.get(Path(name).parent.name, "paper")


def _row(name: str, facts: dict[str, Any], published: Published, here: Here) -> Row:
    path, kind = here.root / name, kind_of(name)
    if not path.is_file():
        return Row(kind, name, Status.NOT_VERIFIABLE, f"{name} is missing. Next: `dvc pull`")
    same = digests.sha256_of(path) == facts["sha256"]
    unlike = _unlike_rebuilt(name, path, here)
    if unlike is None:
        return Row(kind, name, Status.IDENTICAL) if same else _other(name, list(facts["ids"]), published, here)
    if same and here.rebuilt.report and path.suffix in DRAWN and not drawn_as_locked(here.root):
        return Row(kind, name, Status.NOT_VERIFIABLE, f"{unlike}; matplotlib is not the version of requirements.lock")
    changed = "" if same else f"; {published_difference(name, published, path)}"
    status = Status.NOT_VERIFIABLE if same and here.rebuilt.report is None else Status.DIFFERS
    return Row(kind, name, status, unlike + changed)


def _unlike_rebuilt(name: str, path: Path, here: Here) -> str | None:
    """How a file differs from what the predictions give; None where it does not."""
    if here.rebuilt.report is None:
        return f"it cannot be built again: {here.rebuilt.refusal}"
    again = here.rebuilt.report / name
    if not again.is_file():
        return f"{name} is not a file of this report"
    before, after = again.read_bytes(), path.read_bytes()
    return None if before == after else f"{name}: {first_difference(name, before, after, PREDICTED)}"


def published_difference(name: str, published: Published, path: Path) -> str:
    """How a file differs from the published one."""
    before = published.content(name)
    return "other bytes than published" if before is None else first_difference(name, before, path.read_bytes())


def _other(name: str, ids: list[str], published: Published, here: Here) -> Row:
    """A file that is true to predictions here, which are not the published ones."""
    what = published_difference(name, published, here.root / name)
    before, fresh = published.stats, here.rebuilt.stats
    if before is None or fresh is None:
        return Row(kind_of(name), name, Status.NOT_VERIFIABLE, f"{what}; {Unknown.without('statistics')}")
    chosen = ids or None  # a file without ids, such as the text, holds of all
    off = exceeding(of_statistics(before, chosen), of_statistics(fresh, chosen), here.tolerances)
    off = off or other_verdict(before, fresh, chosen)
    return Row(kind_of(name), name, Status.DIFFERS if off else Status.WITHIN, f"{what}; {off}" if off else what)


def _record_row(record: bytes, published: Published, here: Here) -> Row:
    return _row(PROVENANCE, {"sha256": hashlib.sha256(record).hexdigest(), "ids": []}, published, here)


def drawn_as_locked(root: Path) -> bool:
    """Whether matplotlib is the version of `requirements.lock`: another one draws other bytes."""
    lock = root / "requirements.lock"
    pin = re.search(r"^matplotlib==(\S+)", lock.read_text(encoding="utf-8"), re.M) if lock.is_file() else None
    return pin is None or pin.group(1) == importlib.metadata.version("matplotlib")


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()] if folder.is_dir() else []
