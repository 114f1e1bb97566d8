from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import published_results, workspace
from tests.support.session import make_once, shared_folder
from tests.support.warm.launch import WarmPython, warm_python
from tests.support.workspace import TRAIN, Workspace

Made = Callable[[str, Callable[[Path], object]], Workspace]
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
def made(warm: WarmPython, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Gives a worker its copy of a workspace that one worker of the session makes.

    Two workers may run DVC in one at the same time, so that each has its own.
    """

    def copied(name: str, make: Callable[[Path], object]) -> Workspace:
        master = make_once(shared_folder(tmp_path_factory) / f"made-{name}", make)
        return workspace.copy(Workspace(master, warm), tmp_path_factory.mktemp(name) / "repo")

    return copied


@pytest.fixture(scope="session")
def prepared(made: Made, warm: WarmPython) -> Workspace:
    """A workspace whose data and features are ready; not to be changed."""

    def make(root: Path) -> None:
        place = workspace.make(root, warm=warm)
        place.stage("prepare")
        place.stage("encode", "--task", "tiny")

    return made("prepared", make)


@pytest.fixture(scope="session")
def uninterrupted(made: Made, prepared: Workspace) -> Workspace:
    """A workspace in which the item was trained without any interruption; not to be changed."""
    return made("uninterrupted", lambda root: workspace.copy(prepared, root).stage(*TRAIN))


@pytest.fixture
def fresh(prepared: Workspace, tmp_path: Path) -> Callable[..., Workspace]:
    """Makes a copy of the prepared workspace with changed parameters."""
    return lambda **changes: workspace.copy(prepared, tmp_path / "repo", **changes)


@pytest.fixture(scope="session")
def finished(made: Made, warm: WarmPython) -> Workspace:
    """A workspace after `dvc repro` of two seeds; not to be changed."""
    changes = {"train__seeds": [0, 1], "train__steps": 12}
    return made("finished", lambda root: workspace.make(root, warm=warm, **changes).dvc("repro"))


@pytest.fixture(scope="session")
def committed(finished: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """The finished repository with its results published; not to be changed."""
    return published_results.publish(finished, tmp_path_factory.mktemp("published") / "repo")


@pytest.fixture
def place(committed: Workspace, tmp_path: Path) -> Workspace:
    """A copy of it to be changed."""
    return workspace.copy(committed, tmp_path / "repo")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[Any]) -> None:
    """Each of them starts processes, most of them whole pipelines."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.long)
