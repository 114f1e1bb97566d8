"""The statistics of aggregate and the files of report as one MLflow run that names the runs it came from."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from latentwire.tracking.names import flatten_numbers, safe_name
from latentwire.tracking.origin import note_origin
from latentwire.tracking.runs import IDENTITY_TAG, TrackedItem, TrackedRun
from latentwire.tracking.store import Experiment, locate_store, tracking_errors

logger = logging.getLogger(__name__)

RUN_NAME = "statistics"
PREFIX = "statistics/"  # MLflow's charts make a section of what is before the last "/": this keeps them in one


def log_statistics(
    stats: Mapping[str, Any],
    signature: Mapping[str, Any],
    sources: Mapping[str, str],
    files: Mapping[str, Iterable[Path]],
    *,
    experiment: str,
    root: Path,
    sections: Collection[str] | None = None,
    report: Callable[[str], None] = logger.warning,
) -> str:
    """Log every number of `stats` as a metric of the one run for these statistics.

    The run is found by the digest of `stats`: logging again adds no metric twice and replaces files of the same name.

    Args:
        stats: A JSON tree; also written as `stats.json`.
        signature: Of the numbers; written as `signature.json`.
        sources: Item → identity of the train runs used; each becomes a tag `source.ITEM` with that run's id, or its
            identity where MLflow has no such run. Also written as `sources.json`.
        files: Artifact folder ("" for the top) → files.
        experiment: Its name.
        root: The repository.
        sections: Top-level keys of `stats` whose numbers become metrics; None means all.
        report: Told what MLflow holds otherwise.

    Returns:
        The run's id.

    Raises:
        TrackingError: MLflow failed.
    """
    identity = hashlib.sha256(_canonical(stats).encode()).hexdigest()
    item = TrackedItem(RUN_NAME, identity, tags={"stage": "aggregate"})
    numbers = flatten_numbers(stats if sections is None else {key: stats[key] for key in sections})
    run = item.open(locate_store(root), experiment, report)
    with tracking_errors(run.experiment.store):
        note_origin(run, item, root, report)
        linked = _linked(run.experiment, sources)
        for name, target in linked.items():
            run.experiment.client.set_tag(run.run_id, f"source.{safe_name(name)}", target)
        run.log_points((f"{PREFIX}{name}", 0, value) for name, value in numbers.items())
        documents = {"stats.json": stats, "signature.json": signature, "sources.json": linked}
        _attach(run, documents, files)
        run.close("FINISHED")
    return run.run_id


def _canonical(tree: Mapping[str, Any]) -> str:
    return json.dumps(tree, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _linked(experiment: Experiment, sources: Mapping[str, str]) -> dict[str, str]:
    """Item → id of its run, or its identity where the experiment has no run of it."""
    known: dict[str, str] = {}
    token: str | None = None
    while token != "":
        page = experiment.client.search_runs([experiment.id], page_token=token)
        known.update({run.data.tags.get(IDENTITY_TAG, ""): run.info.run_id for run in page})
        token = page.token or ""
    return {item: known.get(identity, identity) for item, identity in sources.items()}


def _attach(run: TrackedRun, documents: Mapping[str, Any], files: Mapping[str, Iterable[Path]]) -> None:
    """Write the JSON documents and copy the files; a file of the same name is replaced."""
    client = run.experiment.client
    for name, content in documents.items():
        client.log_dict(run.run_id, dict(content), name)
    for folder, paths in files.items():
        for path in paths:
            client.log_artifact(run.run_id, str(path), folder or None)
