"""MLflow, only read: the run of an identity."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from latentwire.tracking.runs import IDENTITY_TAG
from latentwire.tracking.store import import_mlflow, locate_store, tracking_errors

NONE = "MLflow has none"


@dataclass(frozen=True)
class RunReader:
    """MLflow's client and the id of the experiment."""

    client: Any
    experiment: str

    def run_of(self, identity: str) -> Any | None:
        """The oldest run with this identity; None where there is none."""
        runs = self.client.search_runs([self.experiment], f"tags.{IDENTITY_TAG} = '{identity}'")
        return min(runs, key=lambda run: (run.info.start_time, run.info.run_id), default=None)


def open_reader(root: Path, experiment: str) -> RunReader | None:
    """Open the store without making one; None where it or the experiment is not there.

    Raises:
        TrackingError: The store cannot be read.
    """
    store = locate_store(root)
    if store.database is not None and not store.database.is_file():
        return None
    with tracking_errors(store):
        client = import_mlflow().MlflowClient(tracking_uri=store.uri)
        opened = client.get_experiment_by_name(experiment)
    return None if opened is None else RunReader(client, opened.experiment_id)
