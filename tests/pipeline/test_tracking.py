"""One story in MLflow, however often the trainer was interrupted (invariant I8)."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.stage_interruptions import STEPS, finish, interrupt
from tests.support.workspace import ITEM, Workspace


@pytest.fixture
def client(fresh: Callable[..., Workspace]) -> tuple[Workspace, Any]:
    from latentwire.tracking.store import import_mlflow, locate_store

    place = fresh()
    return place, import_mlflow().MlflowClient(locate_store(place.root).uri)


def test_two_interruptions_are_one_run(client: tuple[Workspace, Any]) -> None:
    place, store = client
    interrupt(place, 8, signal.SIGTERM)
    interrupt(place, 17, signal.SIGKILL)
    finish(place)
    experiment = store.get_experiment_by_name("latentwire")
    runs = store.search_runs([experiment.experiment_id])
    assert [(run.info.run_name, run.info.status) for run in runs] == [(ITEM, "FINISHED")]
    history = store.get_metric_history(runs[0].info.run_id, "train/loss")
    assert Counter(point.step for point in history) == Counter(range(1, STEPS + 1))
    assert runs[0].data.params["train.lr"] == "0.01"
    assert {"identity", "method", "task", "seed"} <= runs[0].data.tags.keys()


def test_a_store_that_is_gone_stops_nothing(fresh: Callable[..., Workspace], uninterrupted: Workspace) -> None:
    place = fresh()
    output = place.stage(
        "train", "--method", "wire", "--task", "tiny", "--seed", "0", MLFLOW_TRACKING_URI="http://127.0.0.1:9"
    )
    assert "MLflow" in output
    assert place.results() == uninterrupted.results()
