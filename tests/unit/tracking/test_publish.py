"""A finished journal into MLflow, as often as one likes."""

from __future__ import annotations

from pathlib import Path

import pytest

from latentwire.tracking.mirror import MlflowMirror
from latentwire.tracking.publish import sync_journal
from latentwire.tracking.store import locate_store
from tests.support.mlflow_database import ITEM, Database, points_of, records
from unbroken.run_folder import journal


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The journal of a run of 30 steps."""
    path = tmp_path / "journal.jsonl"
    lines = (journal.encode_record(record.pop("step"), record) for record in records(1, 30))
    path.write_bytes(b"".join(lines))
    return path


def test_into_an_empty_store_and_again(database: Database, path: Path) -> None:
    assert sync_journal(ITEM, path, experiment="toy", root=database.root) == 33
    assert database.points() == points_of(records(1, 30))
    assert database.runs() == [("wire-r8-0", "FINISHED")]
    before = database.rows("select * from runs") + database.rows("select * from tags")
    assert sync_journal(ITEM, path, experiment="toy", root=database.root) == 0
    assert database.points() == points_of(records(1, 30))
    assert database.rows("select * from runs") + database.rows("select * from tags") == before


def test_completes_the_run_that_a_killed_mirror_left(database: Database, path: Path) -> None:
    mirror = MlflowMirror(ITEM, experiment="toy", root=database.root, system_metrics=False)
    mirror.started(0)
    mirror.committed(10, records(1, 10))
    mirror.ended("preempted")
    assert sync_journal(ITEM, path, experiment="toy", root=database.root) == 22
    assert database.points() == points_of(records(1, 30))
    assert database.runs() == [("wire-r8-0", "FINISHED")]


def test_a_run_in_the_trash_is_made_again(database: Database, path: Path) -> None:
    sync_journal(ITEM, path, experiment="toy", root=database.root)
    run = ITEM.open(locate_store(database.root), "toy", print)
    run.experiment.client.delete_run(run.run_id)
    assert sync_journal(ITEM, path, experiment="toy", root=database.root) == 33
    assert database.runs() == [("wire-r8-0", "FINISHED")]
