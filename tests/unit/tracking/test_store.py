"""The database is made once, whole or not at all; the experiment exists once; errors are sentences."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from latentwire.doctor.checks import State, _database
from latentwire.errors import ConfigurationError, LatentWireError
from latentwire.tracking.store import (
    TrackingError,
    create_database,
    locate_store,
    open_experiment,
    report_tracking_error,
    tracking_errors,
)
from tests.support.mlflow_database import ITEM, Database

OPEN = (
    "import sys; from pathlib import Path; from latentwire.tracking.store import locate_store; "
    "from tests.support.mlflow_database import ITEM; "
    "run = ITEM.open(locate_store(Path(sys.argv[1])), 'toy', print); run.log_points([('x', 1, 0.5)])"
)


def python(code: str, root: Path) -> subprocess.Popen[str]:
    path = os.pathsep.join(entry for entry in sys.path if entry)
    environment = {key: value for key, value in os.environ.items() if key != "MLFLOW_TRACKING_URI"}
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", code, str(root)],
        env={**environment, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.long
def test_four_processes_at_once_on_an_empty_folder(tmp_path: Path) -> None:
    processes = [python(OPEN, tmp_path) for _ in range(4)]
    outputs = [process.communicate(timeout=120)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * 4, outputs
    database = Database(tmp_path)
    assert database.rows("select name from experiments order by name") == [("Default",), ("toy",)]
    assert database.runs() == [(ITEM.name, "RUNNING")]
    assert database.points() == [("x", 1, 0.5)]
    assert not list(tmp_path.glob("*.creating*"))


@pytest.mark.long
def test_a_kill_while_it_is_made_leaves_nothing_broken(tmp_path: Path) -> None:
    with python(OPEN, tmp_path) as killed:
        while not any(path.stat().st_size > 0 for path in tmp_path.glob("mlflow.db.*.creating")):
            assert killed.poll() is None
            time.sleep(0.002)
        killed.kill()
    assert not (tmp_path / "mlflow.db").exists()
    assert list(tmp_path.glob("*.creating*"))
    (tmp_path / "mlflow.db").touch()  # what `sqlite3 mlflow.db .tables` leaves; it is no database either
    create_database(tmp_path / "mlflow.db")
    assert Database(tmp_path).rows("select count(*) from runs") == [(0,)]
    assert not list(tmp_path.glob("*.creating*"))


def test_an_existing_database_is_not_touched(database: Database) -> None:
    before = database.path.read_bytes()
    create_database(database.path)
    assert database.path.read_bytes() == before


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        (None, ("sqlite:///{root}/mlflow.db", "file://{root}/mlartifacts")),
        ("", ("sqlite:///{root}/mlflow.db", "file://{root}/mlartifacts")),
        ("sqlite:///there/x.db", ("sqlite:///{root}/there/x.db", "file://{root}/there/mlartifacts")),
        ("sqlite:////elsewhere/x.db", ("sqlite:////elsewhere/x.db", "file:///elsewhere/mlartifacts")),
        ("http://127.0.0.1:5000", ("http://127.0.0.1:5000", None)),
        ("postgresql://a/b", ("postgresql://a/b", "file://{root}/mlartifacts")),
    ],
)
def test_where_the_store_is(
    uri: str | None, expected: tuple[str, str | None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if uri is None:
        monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    else:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    store = locate_store(tmp_path)
    assert (store.uri, store.artifacts) == tuple(text and text.format(root=tmp_path) for text in expected)


def test_a_folder_whose_name_is_no_text_is_a_sentence(tmp_path: Path) -> None:
    root = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    root.mkdir()
    with pytest.raises(
        ConfigurationError, match=r"caf\\xe9' has a name that is not UTF-8, .*Next: move the repository"
    ):
        locate_store(root)


@pytest.mark.parametrize("folder", ["c#x", "c%41", "q?z", "a b", "é;k", "a&b=c"])
@pytest.mark.parametrize("uri", [None, "sqlite:///x.db?timeout=60"])
def test_a_folder_whose_name_means_something_in_a_uri(
    folder: str, uri: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, database: Database
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri or "")
    root = tmp_path / "only" / folder
    root.mkdir(parents=True)
    name = "x.db" if uri else "mlflow.db"
    shutil.copy(database.path, root / name)
    store = locate_store(root)
    assert store.database == root / name
    experiment = open_experiment(store, "toy")
    run = experiment.client.create_run(experiment.id)
    (tmp_path / "note.txt").write_text("x")
    experiment.client.log_artifact(run.info.run_id, str(tmp_path / "note.txt"))
    assert [path.name for path in root.parent.iterdir()] == [folder]
    assert len(list(root.glob("mlartifacts/*/artifacts/note.txt"))) == 1
    assert _database(root / name).state is State.OK


def test_artifacts_of_the_experiment_lie_beside_the_database(database: Database) -> None:
    open_experiment(locate_store(database.root), "toy")
    [(location,)] = database.rows("select artifact_location from experiments where name = 'toy'")
    assert location == (database.root / "mlartifacts").as_uri()


def test_a_database_that_mlflow_left_half_made(database: Database) -> None:
    """MLflow itself, killed while it creates one, leaves tables of a later revision than it wrote down."""
    with closing(sqlite3.connect(database.path)) as connection:
        connection.execute("drop table workspaces")  # not reached yet
        connection.execute("update alembic_version set version_num = 'bf29a5ff90ea'")  # the next adds "secrets"
        connection.commit()
    with pytest.raises(TrackingError) as raised:
        open_experiment(locate_store(database.root), "toy")
    assert f"mv {database.path} {database.path}.broken" in str(raised.value)
    assert "python -m latentwire.stages.aggregate" in str(raised.value)


def test_a_database_of_an_older_mlflow(database: Database) -> None:
    with closing(sqlite3.connect(database.path)) as connection:
        connection.execute("update alembic_version set version_num = '451aebb31d03'")
        connection.commit()
    with pytest.raises(TrackingError, match=rf"run `mlflow db upgrade sqlite:///{database.path}`"):
        open_experiment(locate_store(database.root), "toy")


def test_a_file_that_is_no_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_SQLALCHEMYSTORE_POOLCLASS", "NullPool")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr("mlflow.store.db.utils.MAX_RETRY_COUNT", 1)
    (tmp_path / "mlflow.db").write_text("this is not SQLite" * 100)
    with pytest.raises(TrackingError, match=r"not a whole MLflow database.*mv .*mlflow\.db"):
        open_experiment(locate_store(tmp_path), "toy")


def test_an_experiment_in_the_trash(database: Database) -> None:
    experiment = open_experiment(locate_store(database.root), "toy")
    experiment.client.delete_experiment(experiment.id)
    with pytest.raises(TrackingError, match=rf"trash.*experiments restore -x {experiment.id}`"):
        open_experiment(locate_store(database.root), "toy")


def test_a_failure_of_mlflow_is_a_sentence_and_no_failure(database: Database) -> None:
    said: list[str] = []

    def fail() -> int:
        with tracking_errors(locate_store(database.root)):
            raise OSError("disk on fire")

    assert report_tracking_error(fail, said.append) is None
    assert report_tracking_error(lambda: 3, said.append) == 3
    [sentence] = said
    assert "disk on fire" in sentence
    assert "results are complete" in sentence


def test_other_errors_are_not_hidden() -> None:
    def bug() -> None:
        raise KeyError("bug")

    with pytest.raises(KeyError):
        report_tracking_error(bug)
    assert issubclass(TrackingError, LatentWireError)


@pytest.mark.long
def test_mlflow_is_imported_late_and_without_telemetry(tmp_path: Path) -> None:
    code = (
        "import os, sys; import latentwire.tracking.mirror, latentwire.tracking.statistics; "
        "import latentwire.tracking.publish, latentwire.tracking.system; assert 'mlflow' not in sys.modules; "
        "from latentwire.tracking.store import import_mlflow; import_mlflow(); "
        "from mlflow.telemetry.utils import is_telemetry_disabled; assert is_telemetry_disabled(); "
        "assert os.environ['MLFLOW_DISABLE_TELEMETRY'] == 'true'"
    )
    with python(code, tmp_path) as process:
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, output
    assert output == ""
