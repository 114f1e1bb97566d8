"""A finished journal into MLflow: for items trained elsewhere, or while MLflow could not be reached."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from latentwire.tracking.runs import Item
from latentwire.tracking.store import explained, locate
from unbroken.journal import read

logger = logging.getLogger(__name__)


def sync_journal(
    item: Item,
    journal_path: Path,
    *,
    experiment: str,
    root: Path,
    report: Callable[[str], None] = logger.warning,
) -> int:
    """Send what MLflow lacks of a finished item's journal and show the run as finished.

    Returns the number of points sent.

    Doing it again sends nothing and leaves the end time as it was. Raises TrackingError.
    """
    records = read(journal_path)
    run = item.open(locate(root), experiment, report)
    with explained(run.experiment.store):
        sent = run.send(records)
        run.close("FINISHED")
    return sent
