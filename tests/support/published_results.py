"""A finished repository whose results are published, and edits of what is in it."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from latentwire.params.load import load_params
from latentwire.reporting.latex import compile_paper
from latentwire.verification import published, rebuild, verify
from latentwire.verification.rows import ResultRow, Status
from tests.support import workspace
from tests.support.workspace import Workspace

PREDICTIONS = "results/evaluate/wire-tiny-0/predictions.parquet"
CELL = "tiny/llama/wire/accuracy"
IDENTITY = ("-c", "user.name=test", "-c", "user.email=test@example.org")


def git(root: Path, *arguments: str) -> str:
    command = ["git", *IDENTITY, *arguments]
    return subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout


def publish(finished: Workspace, root: Path) -> Workspace:
    """A copy of a finished repository with its dvc.lock committed, and what DVC leaves to git."""
    place = workspace.copy(finished, root)
    (place.root / "LICENSE").write_text("Apache License 2.0\n")
    shutil.copy(workspace.ROOT / "CITATION.cff", place.root)
    commit_results(place)
    return place


def commit_results(place: Workspace) -> None:
    """Publish what is there."""
    git(place.root, "add", "-A")
    outs = yaml.safe_load((place.root / "dvc.yaml").read_text())["stages"]["report"]["outs"]
    left_to_git = [next(iter(out)) for out in outs if isinstance(out, dict)]
    git(place.root, "add", "-f", "dvc.lock", *left_to_git)
    git(place.root, "commit", "-q", "-m", "results")


def checked(root: Path) -> list[ResultRow]:
    return verify.verify_results(root, published.find_published(root, None))


def reasons(found: list[ResultRow], name: str) -> str:
    """Why the row of this name is contradicted."""
    row = next(row for row in found if row.name == name)
    assert row.status is Status.CONTRADICTED, row
    return row.why


def edit_rows(path: Path, change: Callable[[list[dict[str, Any]]], None]) -> None:
    table = pq.read_table(path)
    listed = table.to_pylist()
    change(listed)
    pq.write_table(pa.Table.from_pylist(listed, schema=table.schema), path)


def edit_digit(path: Path, after: str) -> None:
    """Change the first digit behind a text."""
    text = path.read_text()
    start = text.index(after) + len(after)
    found = re.compile(r"\d").search(text, start)
    assert found
    path.write_text(text[: found.start()] + str((int(found[0]) + 1) % 10) + text[found.end() :])


def of_wire(listed: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [row for row in listed if (row["method"], row["model"]) == ("wire", "llama")]


def other_label(row: dict[str, Any]) -> str:
    return {"light": "dark", "dark": "light"}[row["prediction"]]


def answer_otherwise(row: dict[str, Any]) -> None:
    """An answer that its scores agree with: only the digests and the statistics can tell."""
    row.update(prediction=other_label(row), scores=row["scores"][::-1])


def edit_byte(path: Path) -> None:
    data = path.read_bytes()
    middle = len(data) // 2
    path.write_bytes(data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :])


def follow(place: Workspace) -> None:
    """Make statistics, report and lock follow from predictions that were edited: as a run on another machine would."""
    values = load_params(place.root / "params.yaml")
    again = rebuild.rebuild_results(place.root, values, place.root / "again").report
    assert again
    for folder in ("results/aggregate", "reports"):
        shutil.copytree(again / folder, place.root / folder, dirs_exist_ok=True)
    shutil.rmtree(again)
    compile_paper(place.root / "reports/paper.tex")
    place.dvc("commit", "-f")
