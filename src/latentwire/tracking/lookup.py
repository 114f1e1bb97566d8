"""MLflow, only read: the run of an identity."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from latentwire.tracking.runs import IDENTITY_TAG
from latentwire.tracking.store import explained, locate, mlflow

NONE = "MLflow has none"


@dataclass(frozen=True)
class Reader:
    """MLflow's client and the id of the experiment."""

    client: Any
    experiment: str

    def run_of(self, identity: str) -> Any | None:
        """The oldest run with this identity; None where there is none."""
        found = self.client.search_runs([self.experiment], f"tags.{IDENTITY_TAG} = '{identity}'")
        return min(found, key=lambda run: (run.info.start_time, run.info.run_id), default=None)


def reader(root: Path, experiment: str) -> Reader | None:
    """Open the store without making one; None where it or the experiment is not there.

    Raises:
        TrackingError: The store cannot be read.
    """
    store = locate(root)
    if store.database is not None and not store.database.is_file():
        return None
    with explained(store):
        client = mlflow().MlflowClient(tracking_uri=store.uri)
        found = client.get_experiment_by_name(experiment)
    return None if found is None else Reader(client, found.experiment_id)
