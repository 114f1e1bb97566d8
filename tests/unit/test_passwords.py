"""Passwords of trackers, remotes and proxies are in no sentence, log line, traceback or check."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import pytest

from latentwire.console.logging import configure_logging
from latentwire.doctor.checks import CHECKS
from latentwire.errors import ConfigurationError, EvidenceError, LatentWireError
from latentwire.exits import exit_code_of
from latentwire.parking.pointer import RemoteError
from latentwire.passwords import hide_passwords
from latentwire.tracking.mirror import MlflowMirror
from latentwire.tracking.store import TrackingError, locate_store, tracking_errors
from latentwire.verification.lockfile import UnverifiableError

SECRET = "hunter2"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://ann:hunter2@db/mlflow", "postgresql://ann:***@db/mlflow"),
        ("postgresql+psycopg2://ann:hun@ter2@db:5432/mlflow", "postgresql+psycopg2://ann:***@db:5432/mlflow"),
        ("mysql://ann:hun/ter2@db/mlflow", "mysql://ann:***@db/mlflow"),
        ("mysql://ann:hun'ter:2\"@db/mlflow", "mysql://ann:***@db/mlflow"),
        ("postgresql://:hunter2@db/mlflow", "postgresql://:***@db/mlflow"),
        ("(https://ann:hunter2@mlflow.example:443/a@b)", "(https://ann:***@mlflow.example:443/a@b)"),
        ("https://hunter2@git.example/a.git", "https://***@git.example/a.git"),
        ("a 'http://a:hunter2@b' and 'http://c:hunter2@d'", "a 'http://a:***@b' and 'http://c:***@d'"),
        ("proxy socks5://a:hunter2@127.0.0.1:1080", "proxy socks5://a:***@127.0.0.1:1080"),
        (
            "postgresql://db/x?user=ann&password=hunter2&sslmode=on",
            "postgresql://db/x?user=ann&password=***&sslmode=on",
        ),
        ("https://x.blob/c?sv=1&sig=hunter2%3D&se=2", "https://x.blob/c?sv=1&sig=***&se=2"),
        ("https://s3/x?X-Amz-Signature=hunter2", "https://s3/x?X-Amz-Signature=***"),
        ("mssql://db?odbc_connect=UID=a;PWD=hunter2;x=1", "mssql://db?odbc_connect=UID=a;PWD=***;x=1"),
        ("AccountName=a;AccountKey=hunter2==;E=1", "AccountName=a;AccountKey=***;E=1"),
        ("host=db user=ann password=hunter2 dbname=x", "host=db user=ann password=*** dbname=x"),
    ],
)
def test_a_password_is_hidden_wherever_a_url_may_have_one(text: str, shown: str) -> None:
    assert hide_passwords(text) == shown
    assert hide_passwords(shown) == shown


@pytest.mark.parametrize(
    "text",
    [
        "sqlite:////a/b@c:d.db?timeout=60",
        "http://localhost:5000/#/experiments/1",
        "https://host:8443/a@b/c",
        "ssh://git@host/a.git",
        "git@github.com:a/b.git",
        "s3://bucket/a:b@c",
        "file:///a:b@c",
        "max_tokens=64 at 12:30 by a@b.org; label_ce=0",
        "expected a:b@c, found d",
    ],
)
def test_what_is_no_password_stays(text: str) -> None:
    assert hide_passwords(text) == text


@pytest.mark.parametrize(
    "kind", [LatentWireError, ConfigurationError, EvidenceError, TrackingError, RemoteError, UnverifiableError]
)
def test_no_error_of_ours_holds_one(kind: type[LatentWireError]) -> None:
    error = kind(f"No answer from http://ann:{SECRET}@host.")
    assert str(error) == "No answer from http://ann:***@host."
    assert str(kind(str(error))) == str(error)


def test_no_log_line_holds_one(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging()
    url = f"http://ann:{SECRET}@host"
    try:
        raise ValueError(url)
    except ValueError:
        logging.getLogger("a.library").warning("no answer from %s", url, exc_info=True)
    said = capsys.readouterr().err
    assert "no answer from http://ann:***@host" in said
    assert "ValueError: http://ann:***@host" in said
    assert SECRET not in said


def test_no_traceback_of_a_bug_holds_one(capsys: pytest.CaptureFixture[str]) -> None:
    def bug(argv: Sequence[str] | None) -> None:
        raise RuntimeError("http://ann:" + "hunter" + "2@host")

    assert exit_code_of(bug) == 1
    said = capsys.readouterr().err
    assert "RuntimeError: http://ann:***@host" in said
    assert "hunter2@" not in said


URI = f"postgresql://ann:{SECRET}@127.0.0.1:9/mlflow"


def test_nothing_that_is_said_of_a_tracker_holds_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", URI)
    store = locate_store(tmp_path)
    assert store.uri == URI  # what connects
    with pytest.raises(TrackingError) as caught, tracking_errors(store):
        raise OSError(f"{'x' * (300 - len(URI) + 15)} {URI}")  # the sentence is cut within the password
    assert "MLflow at postgresql://ann:***@127.0.0.1:9/mlflow failed" in str(caught.value)
    assert SECRET[:4] not in str(caught.value)


def test_no_check_of_doctor_holds_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", URI)
    checks = next(check for check in CHECKS if check.__name__ == "_mlflow")(tmp_path)
    assert [check.found for check in checks] == ["postgresql://ann:***@127.0.0.1:9/mlflow (not asked)"]


class Item:
    name = "item"


def test_what_the_mirror_reports_holds_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", URI)
    mirror = MlflowMirror(Item(), experiment="x", root=tmp_path)  # type: ignore[arg-type]
    assert "MLflow at postgresql://ann:***@127.0.0.1:9/mlflow lacks some of 'item'" in mirror._unsent("finished")
