from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import published_results, workspace
from tests.support.session import shared_folder
from tests.support.warm.launch import WarmPython, warm_python
from tests.support.workspace import TRAIN, Workspace

LIBRARIES = (
    *("torch", "transformers.models.llama.modeling_llama", "transformers.models.gemma3.modeling_gemma3"),
    *("transformers.models.bert.modeling_bert", "accelerate", "gguf", "mlflow.store.tracking.sqlalchemy_store"),
    *("pandas", "pyarrow.parquet", "scipy.stats", "scipy.optimize", "sklearn.linear_model", "seaborn"),
    *("matplotlib.backends.backend_agg", "matplotlib.backends.backend_pdf", "matplotlib.backends.backend_svg"),
    *("jinja2", "typer", "rich.table", "rich.progress", "dvc.cli", "dvc.repo", "dvc.repo.reproduce"),
)


@pytest.fixture(scope="session")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WarmPython]:
    """Stages that run to their end start as forks of one process, which has imported what all of them import."""
    with warm_python(shared_folder(tmp_path_factory), LIBRARIES) as python:
        yield python


@pytest.fixture(scope="session")
def prepared(warm: WarmPython, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace whose data and features are ready; not to be changed."""
    made = workspace.make(tmp_path_factory.mktemp("prepared") / "repo", warm=warm)
    made.stage("prepare")
    made.stage("encode", "--task", "tiny")
    return made


@pytest.fixture(scope="session")
def uninterrupted(prepared: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace in which the item was trained without any interruption; not to be changed."""
    trained = workspace.copy(prepared, tmp_path_factory.mktemp("uninterrupted") / "repo")
    trained.stage(*TRAIN)
    return trained


@pytest.fixture
def fresh(prepared: Workspace, tmp_path: Path) -> Callable[..., Workspace]:
    """Makes a copy of the prepared workspace with changed parameters."""
    return lambda **changes: workspace.copy(prepared, tmp_path / "repo", **changes)


@pytest.fixture(scope="session")
def finished(warm: WarmPython, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace after `dvc repro` of two seeds; not to be changed."""
    changes = {"train__seeds": [0, 1], "train__steps": 12}
    made = workspace.make(tmp_path_factory.mktemp("finished") / "repo", warm=warm, **changes)
    made.dvc("repro")
    return made


@pytest.fixture(scope="session")
def committed(finished: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """The finished repository with its results published; not to be changed."""
    return published_results.publish(finished, tmp_path_factory.mktemp("published") / "repo")


@pytest.fixture
def place(committed: Workspace, tmp_path: Path) -> Workspace:
    """A copy of it to be changed."""
    return workspace.copy(committed, tmp_path / "repo")


def pytest_collection_modifyitems(items: list[Any]) -> None:
    """Stories that start many processes come last, so that a broken unit is reported first."""
    items.sort(key=lambda item: "pipeline" in str(item.path))
