"""What `aggregate` and `report` tell MLflow: journals that it lacks, the statistics, and the files of the report."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from latentwire.params import Params
from latentwire.statistics.entries import entries
from latentwire.tracking.items import tracked
from latentwire.tracking.statistics import log_statistics
from latentwire.tracking.store import attempt
from latentwire.tracking.sync import sync_journal
from latentwire.training.item import TrainItem

STATS = Path("results/aggregate/stats.json")
NUMBERS = ("cells", "averages", "comparisons", "calibration", "ranks", "blocks")


def publish_journals(values: Params, root: Path) -> None:
    """Send what MLflow lacks of each finished item: trained elsewhere, restored from a cache, or while it was gone.

    A failure of MLflow is one warning; results do not depend on it.
    """
    for item in TrainItem.all(values):
        attempt(partial(_publish_journal, values, item, root))


def publish_statistics(values: Params, root: Path, files: Mapping[str, Iterable[Path]]) -> None:
    """Log every number of the statistics with its signature, and files (artifact folder → files), to one run."""
    stats = json.loads((root / STATS).read_text(encoding="utf-8"))
    signatures = {name: entry["signature"] for name, entry in entries(stats).items()}
    sources = {item.name: _identity(root / item.results) for item in TrainItem.all(values)}
    attempt(
        lambda: log_statistics(
            stats, signatures, sources, files, experiment=values.tracking.experiment, root=root, sections=NUMBERS
        )
    )


def _publish_journal(values: Params, item: TrainItem, root: Path) -> int:
    shown = tracked(values, item, _identity(root / item.results))
    journal = root / item.results / "journal.jsonl"
    return sync_journal(shown, journal, experiment=values.tracking.experiment, root=root)


def _identity(results: Path) -> str:
    manifest: dict[str, Any] = json.loads((results / "manifest.json").read_text(encoding="utf-8"))
    return str(manifest["identity"])
