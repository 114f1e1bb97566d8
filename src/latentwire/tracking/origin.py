"""Where a run came from, as MLflow's own pages show it: its source, its commit, and the data sets that it read."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from latentwire.git import resolve_commit
from latentwire.tracking.runs import TrackedItem, TrackedRun
from unbroken.errors import describe_error

PREPARED = Path("results/prepare")
DIGEST_DIGITS = 32
"""MLflow takes 36 characters."""
COLUMNS = ("example_id", "split", "text", "label")


def note_origin(run: TrackedRun, item: TrackedItem, root: Path, report: Callable[[str], None]) -> None:
    """Add what the run lacks of it: a later start, at another commit, leaves what the first one said.

    Whatever fails is told in a sentence and costs only this.
    """
    try:
        _add_missing(run, item, root)
    except Exception as error:  # an older server may not know data sets
        report(f"MLflow does not say where '{item.name}' came from: {describe_error(error)}.")


def _add_missing(run: TrackedRun, item: TrackedItem, root: Path) -> None:
    entities = importlib.import_module("mlflow.entities")
    client = run.experiment.client
    tags = {key: value for key, value in source_tags(root, item).items() if key not in run.tags}
    if tags:
        client.log_batch(run.run_id, tags=[entities.RunTag(key, value) for key, value in tags.items()])
    known = [data for data in read_data_sets(root, item) if data["digest"] not in run.data_sets]
    if known:
        context = [entities.InputTag("mlflow.data.context", "training" if "task" in item.tags else "evaluation")]
        inputs = [entities.DatasetInput(entities.Dataset(**data), context) for data in known]
        client.log_inputs(run.run_id, datasets=inputs)


def source_tags(root: Path, item: TrackedItem) -> dict[str, str]:
    """What MLflow shows in its columns Source and Version."""
    tags = {"mlflow.source.type": "LOCAL", "mlflow.source.name": f"dvc.yaml:{item.tags.get('stage', item.name)}"}
    commit = resolve_commit(root)
    return tags | ({"mlflow.source.git.commit": commit} if commit else {})


def read_data_sets(root: Path, item: TrackedItem) -> Iterator[dict[str, str]]:
    """The prepared task of an item, or every one for an item of no task, as the fields of MLflow's Dataset."""
    folders = sorted(path.parent for path in (root / PREPARED).glob("*/task.json"))
    for folder in folders:
        if item.tags.get("task", folder.name) == folder.name:
            yield _describe(folder, json.loads((folder / "task.json").read_text(encoding="utf-8")))


def _describe(folder: Path, facts: Mapping[str, Any]) -> dict[str, str]:
    columns = [{"type": "string", "name": name, "required": True} for name in COLUMNS]
    counts = {split: sum(labels.values()) for split, labels in facts["counts"].items()}
    return {
        "name": folder.name,
        "digest": facts["digest"][:DIGEST_DIGITS],
        "source_type": "local",
        "source": json.dumps({"uri": f"{PREPARED}/{folder.name}/examples.parquet"}),
        "schema": json.dumps({"mlflow_colspec": columns}),
        "profile": json.dumps({"num_rows": sum(counts.values()), **counts}),
    }
