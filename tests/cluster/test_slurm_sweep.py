"""slurm/sweep.sh: the train matrix as an array, three tasks preempted, against the same pipeline in one piece."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path

import pytest

from tests.cluster.slurm import Cluster, Job, copy, make, same_results, until

pytestmark = pytest.mark.cluster

ITEMS = [f"wire-tiny-{seed}" for seed in range(6)]
ONE_TASK_A_NODE = "--partition=preempt --cpus-per-task=4 --exclude=node4"


@pytest.mark.slow
def test_a_sweep_equals_one_pipeline(cluster: Cluster, free_folder: Path) -> None:
    place = make(free_folder / "sweep", train__seeds=list(range(6)), train__steps=12)
    alone = copy(cluster, place, free_folder / "sequential")
    said = cluster.call("slurm/sweep.sh", "3", cwd=place.root, LATENTWIRE_SBATCH=ONE_TASK_A_NODE)
    first, array, last = (Job(cluster, number, place.root) for number in re.findall(r"(\d+) \(", said)[:3])
    first.done()
    sequential = cluster.submit(alone.root, "--partition=normal --nodelist=node4")
    preempted = (0, 2, len(ITEMS) - 1)  # the last has the number of the array itself
    for task in preempted:
        take_node(cluster, place.root, array, task)
    for task in preempted:
        log = place.root / f"slurm-{array.id}_{task}.out"
        until(f"task {task} to be started again", lambda log=log: "=== start 2 of job" in log.read_text())
    assert last.done()["Restarts"] == "0"
    assert "Running stage 'train" not in last.log
    assert "Running stage 'evaluate" not in last.log
    assert last.log.count("is cached - skipping run") == 2 * len(ITEMS)
    sequential.done()
    same_results(place, alone)
    with sqlite3.connect(place.root / "mlflow.db") as database:
        runs = database.execute("select name from runs where name like 'wire-%' order by name").fetchall()
    assert [name for (name,) in runs] == ITEMS
    assert "finished" in cluster.call(
        "apptainer", "exec", "--bind", free_folder, "--pwd", place.root, cluster.image, "latentwire", "status"
    )


def take_node(cluster: Cluster, root: Path, array: Job, task: int) -> None:
    """Take the node of a task once it trains."""
    item = ITEMS[task]
    until(f"task {task} to train", lambda: bool(list(root.glob(f"state/sweep/*/{item}/state/{item}-*"))))
    shown = cluster.call("squeue", "--noheader", f"--job={array.id}_{task}", "--format=%N")
    cluster.occupy(shown.strip())
