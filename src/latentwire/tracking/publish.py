"""What `aggregate` and `report` tell MLflow: journals that it lacks, the statistics, and the files of the report."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from latentwire.item import TrainItem
from latentwire.params.load import AnyParams
from latentwire.statistics.write import signed_entries
from latentwire.tracking.origin import note_origin
from latentwire.tracking.runs import TrackedItem, tracked_item
from latentwire.tracking.statistics import log_statistics
from latentwire.tracking.store import locate_store, report_tracking_error, tracking_errors
from unbroken.run_folder.journal import read_journal

logger = logging.getLogger(__name__)

STATS = Path("results/aggregate/stats.json")
NUMBERS = ("cells", "averages", "comparisons", "controls", "unseen", "calibration", "ranks", "blocks")


def publish_journals(values: AnyParams, root: Path) -> None:
    """Send what MLflow lacks of each finished item: trained elsewhere, restored from a cache, or while it was gone.

    A failure of MLflow is one warning; results do not depend on it.
    """
    for item in TrainItem.all(values):
        report_tracking_error(partial(_publish_journal, values, item, root))


def sync_journal(
    item: TrackedItem,
    journal_path: Path,
    *,
    experiment: str,
    root: Path,
    report: Callable[[str], None] = logger.warning,
) -> int:
    """Send what MLflow lacks of a finished item's journal and show the run as finished.

    Doing it again sends nothing and leaves the end time as it was.

    Returns:
        The number of points sent.

    Raises:
        TrackingError: MLflow failed.
    """
    records = read_journal(journal_path)
    run = item.open(locate_store(root), experiment, report)
    with tracking_errors(run.experiment.store):
        note_origin(run, item, root, report)
        sent = run.send(records)
        run.close("FINISHED")
    return sent


def publish_statistics(values: AnyParams, root: Path, files: Mapping[str, Iterable[Path]]) -> None:
    """Log every number of the statistics with its signature, and files (artifact folder → files), to one run."""
    stats = json.loads((root / STATS).read_text(encoding="utf-8"))
    signatures = {name: entry["signature"] for name, entry in signed_entries(stats).items()}
    sources = {item.name: _identity(root / item.results) for item in TrainItem.all(values)}
    report_tracking_error(
        lambda: log_statistics(
            stats, signatures, sources, files, experiment=values.tracking.experiment, root=root, sections=NUMBERS
        )
    )


def _publish_journal(values: AnyParams, item: TrainItem, root: Path) -> int:
    shown = tracked_item(values, item, _identity(root / item.results))
    journal = root / item.results / "journal.jsonl"
    return sync_journal(shown, journal, experiment=values.tracking.experiment, root=root)


def _identity(results: Path) -> str:
    manifest: dict[str, Any] = json.loads((results / "manifest.json").read_text(encoding="utf-8"))
    return str(manifest["identity"])
