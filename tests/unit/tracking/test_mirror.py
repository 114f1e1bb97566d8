"""However a run is stopped, MLflow shows one run, every point once, and the right status."""

from __future__ import annotations

import random
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from latentwire.tracking.mirror import MlflowMirror
from latentwire.tracking.runs import TrackedItem
from tests.support.mlflow_database import ITEM, Database, points_of, records
from unbroken.run_folder import journal

Start = Callable[..., "subprocess.Popen[str]"]


def mirror(root: Path, said: list[str], item: TrackedItem = ITEM, **options: Any) -> MlflowMirror:
    return MlflowMirror(item, experiment="toy", root=root, system_metrics=False, report=said.append, **options)


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def play(database: Database, verdict: str, *parts: list[dict[str, Any]], item: TrackedItem = ITEM) -> list[str]:
    """One start of a run that commits `parts` and ends; what the mirror said."""
    said: list[str] = []
    observer = mirror(database.root, said, item)
    observer.started(0)
    for part in parts:
        observer.committed(part[-1]["step"], part)
    observer.ended(verdict)
    return said


@pytest.mark.long
def test_one_run_and_each_point_once_after_two_preemptions_and_a_kill(database: Database, start: Start) -> None:
    """The story of a run on a cluster, with the real Run in real processes."""
    assert end_of(start(database.root, 4000, 12)) == 75
    assert database.runs() == [("wire-r8-0", "SCHEDULED")]
    assert database.points() == points_of(records(1, 12))

    with start(database.root, 4000) as killed:
        wait_until(lambda: len(database.points()) > len(points_of(records(1, 12))))
        time.sleep(random.uniform(0, 0.1))  # the next points are under way
        killed.kill()
    assert database.runs() == [("wire-r8-0", "RUNNING")]
    reached = len(journal.read_journal(database.root / "run" / "journal.jsonl"))
    held = database.points()
    assert held == points_of(records(1, reached))[: len(held)]

    assert end_of(start(database.root, reached + 20, reached + 10)) == 75
    assert database.runs() == [("wire-r8-0", "SCHEDULED")]
    assert end_of(start(database.root, reached + 20)) == 0
    assert database.runs() == [("wire-r8-0", "FINISHED")]
    assert database.points() == points_of(records(1, reached + 20))
    assert database.params() == {"train.lr": "0.001", "train.seeds": "[0, 1]"}
    expected = {"identity": "a" * 64, "item": "wire-r8-0", "method": "wire", "task": "r8", "seed": "0"}
    assert database.tags().items() >= expected.items()


def end_of(process: subprocess.Popen[str]) -> int:
    with process:
        output, _ = process.communicate(timeout=120)
    assert "Traceback" not in output
    return process.returncode


def test_status_follows_the_story(database: Database) -> None:
    first, second = records(1, 10), records(11, 20)
    seen = []
    for verdict, parts in (
        ("preempted", [first]),
        ("failed", [first]),
        ("finished", [first, second]),
        ("finished", [first + second]),
    ):
        assert play(database, verdict, *parts) == []
        seen.append(database.runs())
    names = ["SCHEDULED", "FAILED", "FINISHED", "FINISHED"]
    assert seen == [[("wire-r8-0", status)] for status in names]
    assert database.points() == points_of(first + second)


def test_running_while_it_runs_again(database: Database) -> None:
    play(database, "failed", records(1, 10))
    observer = mirror(database.root, [])
    observer.started(0)
    wait_until(lambda: database.runs() == [("wire-r8-0", "RUNNING")])
    observer.ended("finished")


def test_finished_again_changes_nothing(database: Database) -> None:
    play(database, "finished", records(1, 10))
    before = database.rows("select * from runs") + database.rows("select * from metrics order by step, key")
    assert play(database, "finished", records(1, 10)) == []
    after = database.rows("select * from runs") + database.rows("select * from metrics order by step, key")
    assert after == before


def test_another_identity_is_another_run_of_the_same_name(database: Database) -> None:
    play(database, "finished", records(1, 3))
    play(database, "finished", records(1, 3), item=TrackedItem(ITEM.name, "b" * 64))
    assert database.runs() == [("wire-r8-0", "FINISHED")] * 2
    nested = database.rows("select * from tags where key = 'mlflow.parentRunId'")
    assert nested == []  # flat: the UI hides nested runs


def test_params_of_the_first_start_are_kept_and_a_difference_is_said(database: Database) -> None:
    play(database, "preempted", records(1, 3))
    other = TrackedItem(ITEM.name, ITEM.identity, params={"train": {"lr": 0.5}, "threads": 2})
    [sentence] = play(database, "finished", records(1, 3), item=other)
    assert "train.lr" in sentence
    assert "first start" in sentence
    assert database.params() == {"train.lr": "0.001", "train.seeds": "[0, 1]", "threads": "2"}


def test_a_metric_that_is_not_finite_or_missing_does_not_stop_the_others(database: Database) -> None:
    odd: list[dict[str, Any]] = [
        {"step": 1, "train/loss": float("nan"), "grad+norm": float("inf")},
        {"step": 2, "train/loss": 1.0, "grad+norm": None},
    ]
    assert play(database, "finished", odd) == []
    rows = database.rows("select key, step, is_nan from metrics order by step, key")
    assert rows == [("grad_norm", 1, 0), ("train/loss", 1, 1), ("train/loss", 2, 0)]


def test_many_points_go_in_few_requests(database: Database) -> None:
    assert play(database, "finished", records(1, 1500)) == []
    assert database.points() == points_of(records(1, 1500))
