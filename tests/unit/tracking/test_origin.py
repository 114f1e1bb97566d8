"""What MLflow's own pages show of a run: source, commit, data set; each once, and from its first start."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from latentwire.tracking.origin import source_tags
from latentwire.tracking.publish import sync_journal
from tests.support.mlflow_database import ITEM, Database, records
from unbroken.run_folder import journal

DIGEST = "0123456789abcdef" * 4
COUNTS = {"train": {"a": 3, "b": 4}, "test": {"a": 1, "b": 2}}


@pytest.fixture
def path(database: Database) -> Path:
    """The journal of a run, in a repository that has two prepared tasks."""
    for task in ("r8", "other"):
        folder = database.root / "results/prepare" / task
        folder.mkdir(parents=True)
        (folder / "task.json").write_text(json.dumps({"digest": DIGEST, "counts": COUNTS}))
    path = database.root / "journal.jsonl"
    path.write_bytes(b"".join(journal.encode_record(record.pop("step"), record) for record in records(1, 3)))
    return path


def commit(root: Path, message: str) -> str:
    git = ["git", "-C", str(root), "-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", message], check=True)
    return subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()


def test_the_data_set_of_the_task_is_an_input_once(database: Database, path: Path) -> None:
    for _ in range(2):
        sync_journal(ITEM, path, experiment="toy", root=database.root)
    [(name, digest, source, profile)] = database.rows(
        "select name, digest, dataset_source, dataset_profile from datasets join inputs on source_id = dataset_uuid"
    )
    assert (name, digest) == ("r8", DIGEST[:32])
    assert json.loads(source) == {"uri": "results/prepare/r8/examples.parquet"}
    assert json.loads(profile) == {"num_rows": 10, "train": 7, "test": 3}
    assert database.rows("select name, value from input_tags") == [("mlflow.data.context", "training")]


def test_a_later_commit_leaves_the_first_one_there(database: Database, path: Path) -> None:
    first = commit(database.root, "first")
    sync_journal(ITEM, path, experiment="toy", root=database.root)
    assert commit(database.root, "second") != first
    sync_journal(ITEM, path, experiment="toy", root=database.root)
    assert database.tags()["mlflow.source.git.commit"] == first
    assert database.tags()["mlflow.source.name"] == "dvc.yaml:wire-r8-0"


def test_a_broken_description_costs_only_the_data_set(database: Database, path: Path) -> None:
    (database.root / "results/prepare/r8/task.json").write_text('{"digest": 7')
    told: list[str] = []
    assert sync_journal(ITEM, path, experiment="toy", root=database.root, report=told.append) > 0
    assert len(told) == 1
    assert told[0].startswith("MLflow does not say where 'wire-r8-0' came from: ")
    assert database.runs() == [("wire-r8-0", "FINISHED")]


def test_without_git_and_without_data_there_is_a_source(database: Database, path: Path, tmp_path: Path) -> None:
    shutil.rmtree(database.root / "results")
    sync_journal(ITEM, path, experiment="toy", root=database.root)
    assert database.rows("select * from inputs") == []
    assert set(source_tags(tmp_path, ITEM)) == {"mlflow.source.type", "mlflow.source.name"}
