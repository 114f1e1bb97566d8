"""Something else than a file, where a run has a file of its own: a sentence names it, nobody waits, and it stays."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.support.toy_training import Unsynced
from unbroken.errors import StorageError
from unbroken.preemption import StopFlag
from unbroken.run import Run
from unbroken.run_folder.identity import Identity
from unbroken.run_folder.verdict import VERDICT_FILE, Verdict, announce_verdict


def make_folder(path: Path) -> None:
    path.mkdir()
    (path / "mine").write_text("years of work")


def link_folder(path: Path) -> None:
    make_folder(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        descriptor = os.open(path.parent, os.O_RDONLY)
        made.bind(f"/proc/self/fd/{descriptor}/{path.name}")  # the whole path may be too long for one
        os.close(descriptor)


def link_device(path: Path) -> None:
    path.symlink_to("/dev/null")


Make = Callable[[Path], Any]
KINDS = [make_folder, link_folder, os.mkfifo, make_socket, link_device]
NAMES = ["verdict.json", "early-end.json", "identity.json", "events.jsonl", "lock", "checkpoints/journal.jsonl"]


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    train(tmp_path / "run", 4)
    return tmp_path / "run"


def train(folder: Path, steps: int) -> list[str]:
    said: list[str] = []
    options: dict[str, Any] = {"every": 2, "background": False, "files": Unsynced(), "report": said.append}
    with Run(folder, identity=Identity({}), state={"w": {"w": torch.zeros(2)}}, stop=StopFlag(), **options) as run:
        for _ in run.steps(steps):
            run.log(loss=1.0)
    return said


def describe(folder: Path) -> dict[str, Any]:
    """Name -> kind and content of all there is, but for the files that are of the start and not of the run."""
    return {
        str(path.relative_to(folder)): (
            stat.S_IFMT(path.lstat().st_mode),
            path.read_bytes() if path.is_file() and path.stat().st_size else None,
        )
        for path in sorted(folder.rglob("*"))
        if path.name not in ("lock", VERDICT_FILE) or not path.is_file()
    }


@pytest.mark.parametrize("make", KINDS, ids=lambda make: make.__name__)
@pytest.mark.parametrize("name", NAMES)
def test_the_start_is_refused_and_changes_nothing(name: str, make: Make, trained: Path) -> None:
    path = trained / name
    path.unlink(missing_ok=True)
    make(path)
    before = describe(trained)
    with pytest.raises(StorageError, match=rf"{path}.* (answered E\w+ \(|expected a file).*Next: "):
        train(trained, 8)
    assert describe(trained) == before


@pytest.mark.parametrize("name", NAMES)
def test_the_first_start_is_refused_too(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    make_folder(path)
    with pytest.raises(StorageError, match=rf"{path}.* (answered EISDIR|is a folder)"):
        train(tmp_path, 8)
    assert (path / "mine").exists()


@pytest.mark.parametrize("name", ["manifest.json", "tensors.safetensors"])
def test_a_folder_among_the_files_of_a_checkpoint_is_named(name: str, trained: Path) -> None:
    path = trained / "checkpoints/step-00000004" / name
    path.unlink()
    make_folder(path)
    first, second = train(trained, 8)
    assert first.startswith(str(path))
    assert "The next older checkpoint is tried" in first
    assert second.startswith("Going on from step 2 ")


@pytest.mark.parametrize("make", KINDS, ids=lambda make: make.__name__)
def test_a_journal_that_no_result_needs_costs_a_sentence(make: Make, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    make(path := tmp_path / "run/journal.jsonl")
    before = describe(tmp_path / "run")
    (said,) = train(tmp_path / "run", 4)
    assert said.startswith(f"The journal {path} could not be written: E")
    assert before.items() <= describe(tmp_path / "run").items()


@pytest.mark.parametrize("make", KINDS, ids=lambda make: make.__name__)
def test_the_verdict_that_a_script_wants_replaces_nothing_but_a_file(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(wanted := tmp_path / "wanted")
    monkeypatch.setenv("UNBROKEN_VERDICT", str(wanted))
    before = describe(tmp_path)
    said: list[str] = []
    announce_verdict(Verdict(75, 3, "SIGTERM"), report=said.append)
    (sentence,) = said
    assert sentence.startswith(f"The verdict in {wanted} could not be written: E")
    with pytest.raises(StorageError, match=f"Could not remove the old verdict at {wanted}: the system answered E"):
        train(tmp_path / "run", 4)
    assert before.items() <= describe(tmp_path).items()


def test_a_link_to_a_file_gives_way_to_the_verdict(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "kept").write_text("mine")
    (tmp_path / "run" / VERDICT_FILE).symlink_to(tmp_path / "kept")
    assert train(tmp_path / "run", 4) == []
    assert (tmp_path / "kept").read_text() == "mine"
    assert '"exit":0' in (tmp_path / "run" / VERDICT_FILE).read_text()
