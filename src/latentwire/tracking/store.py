"""Where MLflow keeps its data, and the only place where MLflow is imported.

The default is `mlflow.db` in the repository root. MLflow's own creation of a database is neither safe against
a second process nor against a kill (both leave one that never opens again), so a database is made here: under
another name, by one process at a time, and moved into place when it is complete.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from types import ModuleType
from typing import Any, TypeVar

from filelock import FileLock
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from latentwire import environment
from latentwire.errors import LatentWireError
from latentwire.passwords import hide_passwords

logger = logging.getLogger(__name__)
T = TypeVar("T")

LOCK_S = 120.0  # creating a database takes about one second, on a busy machine up to twelve
QUIET = {  # these report with tracebacks what the callers here report in one sentence
    "mlflow": logging.WARNING,
    "mlflow.store.db.utils": logging.CRITICAL,
    "mlflow.system_metrics": logging.ERROR,
    "alembic": logging.WARNING,
    "urllib3.connectionpool": logging.ERROR,
}


class TrackingError(LatentWireError):
    """MLflow could not be read or written; no result is affected."""


@dataclass(frozen=True)
class TrackingStore:
    """One MLflow store."""

    uri: str
    database: Path | None
    """Its SQLite file; None where it is something else."""
    artifacts: str | None
    """Where new experiments put their artifacts; None where a server decides."""

    @property
    def shown(self) -> str:
        """The URI as messages have it, without its password."""
        return hide_passwords(self.uri)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the lock beside the SQLite file; a server has none, see `runs.open_run`."""
        if self.database is None:
            yield
        else:
            with FileLock(f"{self.database}.lock", timeout=LOCK_S):
                yield


@dataclass(frozen=True)
class Experiment:
    """An open experiment: MLflow's client for `store`, and the id of the experiment there."""

    store: TrackingStore
    client: Any
    id: str


def locate_store(root: Path) -> TrackingStore:
    """Find the store of MLFLOW_TRACKING_URI, else `mlflow.db` under `root`; relative SQLite paths start there.

    Artifacts of a SQLite store lie in `mlartifacts` beside the file.
    """
    uri = environment.mlflow_tracking_uri() or "sqlite:///mlflow.db"
    url = _parse_sqlite(uri)
    if url is None or url.database in (None, "", ":memory:") or "uri" in url.query:
        server = uri.startswith(("http://", "https://"))
        return TrackingStore(uri, None, None if server else (root / "mlartifacts").resolve().as_uri())
    database = (root / str(url.database)).resolve()
    options = uri.partition("?")[1:]
    return TrackingStore(
        "".join((environment.sqlite_uri(database), *options)), database, (database.parent / "mlartifacts").as_uri()
    )


def _parse_sqlite(uri: str) -> URL | None:
    try:
        return make_url(uri) if uri.startswith("sqlite") else None
    except ArgumentError:
        return None  # no training ends of it: MLflow says what is wrong with it, as with any other


def import_mlflow() -> ModuleType:
    """Import MLflow with our settings in force. The first call takes seconds, later ones nothing."""
    environment.set_mlflow_defaults()
    # MLflow 3.17 maps its tables with an option that SQLAlchemy 2.1 deprecates; they are imported later still.
    warnings.filterwarnings("ignore", message="The ``noload`` loader strategy", category=DeprecationWarning)
    module = importlib.import_module("mlflow")
    for name, level in QUIET.items():
        logging.getLogger(name).setLevel(level)
    return module


def open_experiment(store: TrackingStore, name: str) -> Experiment:
    """Open the experiment `name` of `store`; database and experiment are made if needed.

    Raises:
        TrackingError: The store cannot be opened, or the experiment is in the trash.
    """
    with tracking_errors(store):
        if store.database is not None:
            create_database(store.database)
        client = import_mlflow().MlflowClient(tracking_uri=store.uri)
        return Experiment(store, client, _experiment_id(store, client, name))


@contextlib.contextmanager
def tracking_errors(store: TrackingStore) -> Iterator[None]:
    """Turn whatever MLflow, SQLite, the file system or the network raise into one sentence.

    Raises:
        TrackingError: One of them failed.
    """
    try:
        yield
    except TrackingError:
        raise
    except Exception as error:  # MLflow's stores raise anything: requests, SQLAlchemy, OSError, its own
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        said = f"{hide_passwords(reason)[:300]} ({type(error).__name__})"
        raise TrackingError(f"MLflow at {store.shown} failed: {said}. Next: {_next_step(store, reason)}.") from error


def report_tracking_error(action: Callable[[], T], report: Callable[[str], None] = logger.warning) -> T | None:
    """Return the result of `action`; where MLflow fails, report it in one sentence and return None."""
    try:
        return action()
    except TrackingError as error:
        report(f"The results are complete, MLflow's copy of them is not: {error}")
        return None


def _next_step(store: TrackingStore, reason: str) -> str:
    """What the user can do about `reason`."""
    if store.database is None:
        return "check that the server answers, or unset MLFLOW_TRACKING_URI to use mlflow.db"
    if "out-of-date database schema" in reason:
        return f"run `mlflow db upgrade {quote(store.uri)}`"
    if "(sqlite3." in reason and not is_unreachable(reason):
        return (
            "the file is not a whole MLflow database; move it away "
            f"(`mv {quote(str(store.database))} {quote(f'{store.database}.broken')}`) and run "
            "`python -m latentwire.stages.aggregate`, which writes every finished run again"
        )
    return f"check that {store.database} can be written and that no other process holds it"


def is_unreachable(reason: str) -> bool:
    """Whether SQLite says of a file that it cannot be had now, so that it may be intact."""
    # Not every "disk": a "disk image" that "is malformed" stays so.
    return any(word in reason for word in ("locked", "readonly", "unable to open", "disk I/O", "disk is full"))


def create_database(path: Path) -> None:
    """Make an empty MLflow database at `path` unless one is there; it appears whole or not at all."""
    if _present(path):
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{path}.lock", timeout=LOCK_S):
        for leftover in path.parent.glob(f"{path.name}.*.creating*"):
            leftover.unlink()  # of a creator that was killed: a living one would hold the lock
        if not _present(path):
            _create_under_lock(path)


def _present(path: Path) -> bool:
    return path.is_file() and path.stat().st_size > 0  # SQLite leaves an empty file when only opened


def _create_under_lock(path: Path) -> None:
    """Create and migrate a database under a temporary name in the same folder, then rename it."""
    import_mlflow()
    module = importlib.import_module("mlflow.store.tracking.sqlalchemy_store")
    temporary = path.with_name(f"{path.name}.{os.getpid()}.creating")
    made = module.SqlAlchemyStore(environment.sqlite_uri(temporary), (path.parent / "mlartifacts").as_uri())
    made.engine.dispose()  # closes the connections: the file is complete and synced
    os.replace(temporary, path)


def _experiment_id(store: TrackingStore, client: Any, name: str) -> str:
    """Id of the experiment `name`, created if needed, perhaps by another process at the same time."""
    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        try:
            return str(client.create_experiment(name, artifact_location=store.artifacts))
        except import_mlflow().MlflowException:
            experiment = client.get_experiment_by_name(name)
            if experiment is None:  # not a lost race
                raise
    if experiment.lifecycle_stage != "active":
        # A URI with a password is in the environment already.
        named = f"MLFLOW_TRACKING_URI={quote(store.uri)} " if store.shown == store.uri else ""
        raise TrackingError(
            f"The MLflow experiment '{name}' at {store.shown} is in the trash; expected an active one. Next: "
            f"`{named}mlflow experiments restore -x {experiment.experiment_id}` "
            "or another tracking.experiment in params.yaml."
        )
    return str(experiment.experiment_id)
