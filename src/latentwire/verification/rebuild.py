"""From stored predictions and journals to statistics, tables and figures again, in another folder."""

from __future__ import annotations

import json
import logging
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from latentwire.errors import EvidenceError
from latentwire.params.load import AnyParams
from latentwire.params.own import described_method
from latentwire.reporting.build import build_report
from latentwire.reporting.provenance import recorded_revision
from latentwire.statistics.curves import learning_curves
from latentwire.statistics.grid import expected_grid
from latentwire.statistics.summary import compute_statistics
from latentwire.statistics.write import write_statistics
from latentwire.verification.differences import format_leaf, json_differences, nearly_equal
from latentwire.verification.published import STATS_FILE
from unbroken.errors import UnbrokenError

AGGREGATE = Path("results/aggregate")
DAMAGE = (EvidenceError, UnbrokenError, OSError, ValueError, KeyError)
"""What reading a truncated or hand-edited file may raise."""


@dataclass(frozen=True)
class Rebuilt:
    """What the predictions yield. `refusal` says why they yield no statistics, `difference` what does not follow."""

    stats: dict[str, Any] | None
    refusal: str | None
    difference: str | None
    """The first value of `stats.json` that does not follow from the predictions."""
    report: Path | None
    """The folder in which `reports/` was rebuilt."""


def recompute_statistics(root: Path, values: AnyParams) -> dict[str, Any]:
    """`stats.json` as it follows from the predictions of a repository.

    Raises:
        EvidenceError: The predictions are not what the parameters declare.
    """
    return dict(json.loads(json.dumps(compute_statistics(root / "results", values))))


def rebuild_results(root: Path, values: AnyParams, scratch: Path) -> Rebuilt:
    """Recompute every statistic and rebuild every table and figure under `scratch`."""
    try:
        fresh = recompute_statistics(root, values)
        lines = _curves(root, values)
    except DAMAGE as error:
        return Rebuilt(None, error_sentence(error), None, None)
    stored, difference = _compared(root, fresh)
    # Sums may differ in their last digits between builds of numpy; the report is then drawn from the stored ones.
    _write(root, scratch, stored if stored is not None and difference is None else fresh, lines)
    rebuild_report(scratch, values, root / "reports")
    return Rebuilt(fresh, None, difference, scratch)


def error_sentence(error: Exception) -> str:
    """An error as a sentence; those of libraries say little without their class."""
    said = " ".join(str(error).split())
    return said if isinstance(error, EvidenceError | UnbrokenError) else f"{type(error).__name__}: {said}"


def _compared(root: Path, fresh: dict[str, Any]) -> tuple[dict[str, Any] | None, str | None]:
    """The stored statistics, and the first value that does not follow from the predictions."""
    try:
        stored = read_stats(root)
    except EvidenceError as error:
        return None, str(error)
    return stored, f"{STATS_FILE} is missing" if stored is None else _disagreement(stored, fresh)


def _disagreement(stored: Any, fresh: Any) -> str | None:
    """Name the first stored value that differs from the computed one by more than the last digits of a sum."""
    for path, was, now in json_differences(stored, fresh):
        if not nearly_equal(was, now):
            return f"{path} is {format_leaf(was)} in {STATS_FILE}, but the predictions give {format_leaf(now)}"
    return None


def read_stats(root: Path) -> dict[str, Any] | None:
    """The stored statistics; None where there are none."""
    path = root / STATS_FILE
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise EvidenceError(
            f"{STATS_FILE} is not JSON ({error}), expected statistics. Next: `dvc checkout`."
        ) from error


def rebuild_report(folder: Path, values: AnyParams, former: Path) -> None:
    """Build `reports/` of a folder from its `results/aggregate/`, for the revision that a `former` report names."""
    logging.getLogger("fontTools").setLevel(logging.WARNING)
    try:
        revision = recorded_revision(former)
    except (ValueError, KeyError, AttributeError):  # edited by hand; its own row says so
        revision = None
    build_report(folder, values.report.title, values.report.names, revision, described_method(values.report))


def _curves(root: Path, values: AnyParams) -> Any:
    return learning_curves(root / "results", expected_grid(values), values.train.steps)


def _write(root: Path, scratch: Path, stats: dict[str, Any], lines: Any) -> None:
    write_statistics(scratch / AGGREGATE, stats, lines)
    for path in (root / "results").iterdir():
        if path.name != AGGREGATE.name:
            (scratch / "results" / path.name).symlink_to(path.resolve())
    for name in ("params.yaml", "dvc.lock", "reports/templates"):
        source = root / name
        if source.is_dir():
            shutil.copytree(source, scratch / name)
        elif source.is_file():
            shutil.copy(source, scratch / name)
