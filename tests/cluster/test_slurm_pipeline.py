"""The real pipeline in the real image under SLURM: whatever happens to the job, the same bytes as if nothing had."""

from __future__ import annotations

import os
import re
import signal
import sqlite3
from collections import Counter
from pathlib import Path

import pytest

from tests.cluster.slurm import STEPS, Cluster, Job, copy, same_results, until
from tests.cluster.trainer import (
    freeze_after_step,
    freeze_when,
    frozen_after_step,
    is_signalled,
    preempt_after_step,
    preempt_frozen,
    wait_for_pid,
)
from tests.support.workspace import ITEM, Workspace

pytestmark = pytest.mark.cluster

TRAIN = ("dvc", "repro", f"train@{ITEM}")
SITE_PACKAGES = "/opt/latentwire/lib/python3.11/site-packages"


def test_preempted_in_train_in_a_save_and_in_evaluate(
    cluster: Cluster, prepared: Workspace, undisturbed: Workspace, free_folder: Path
) -> None:
    place = copy(cluster, prepared, free_folder / "preempted")
    job = cluster.submit(place.root, "--partition=preempt --nodelist=node1")
    preempt_after_step(cluster, job, place, 4)
    preempt_in_a_save(cluster, job, place)
    job.wait_for_log("^Running stage 'evaluate")
    cluster.preempt(job)
    facts = job.done()
    assert int(facts["Restarts"]) >= 3
    assert facts["JobId"] == job.id
    assert len(list(place.root.glob("slurm-*.out"))) == 1
    same_results(place, undisturbed)
    steps_are_once(place)
    runs_are_once(place)
    assert not (place.root / ".dvc/tmp/rwlock").exists() or (place.root / ".dvc/tmp/rwlock").read_text() == "{}"
    started_again_trains_nothing(cluster, place, job)


def preempt_in_a_save(cluster: Cluster, job: Job, place: Workspace) -> None:
    """Freeze the trainer while a checkpoint is half written, until SLURM's signal waits for it."""
    (folder,) = place.state()
    trainer = wait_for_pid(place)
    freeze_when(trainer, lambda: bool(list(folder.glob("checkpoints/.tmp-step-*"))))
    preempt_frozen(cluster, job, trainer)


def steps_are_once(place: Workspace) -> None:
    """No step twice or missing in the journal."""
    journal = (place.root / f"results/train/{ITEM}/journal.jsonl").read_text()
    assert [int(step) for step in re.findall(r'"step": ?(\d+)', journal)] == list(range(1, STEPS + 1))


def runs_are_once(place: Workspace) -> None:
    """One MLflow run of the item, finished, with every step of its loss once."""
    with sqlite3.connect(place.root / "mlflow.db") as database:
        runs = database.execute("select run_uuid, status from runs where name = ?", (ITEM,)).fetchall()
        assert [status for _, status in runs] == ["FINISHED"]
        points = database.execute(
            "select step from metrics where run_uuid = ? and key = 'train/loss'", (runs[0][0],)
        ).fetchall()
    assert Counter(step for (step,) in points) == Counter(range(1, STEPS + 1))


def started_again_trains_nothing(cluster: Cluster, place: Workspace, job: Job) -> None:
    """SLURM 24.11 starts a finished job once more."""
    before = place.results(("results", "reports"))
    cluster.call("scontrol", "requeue", job.id)
    job.started_again(job.restarts)
    assert job.wait("COMPLETED")["ExitCode"] == "0:0"
    again = job.log.rpartition("=== start")[2]
    assert "Running stage" not in again
    assert place.results(("results", "reports")) == before


@pytest.mark.slow
def test_the_time_limit(cluster: Cluster, prepared: Workspace, undisturbed: Workspace, free_folder: Path) -> None:
    place = copy(cluster, prepared, free_folder / "limited")
    job = cluster.submit(place.root, "--partition=preempt --time=60 --signal=B:USR1@90", *TRAIN)
    with frozen_after_step(place, 4) as trainer:
        ran = sum(int(part) * unit for part, unit in zip(job.facts["RunTime"].split(":"), (60, 1), strict=False))
        cluster.limit(job, ran + 2)  # one to two minutes from now, so that the signal is due at SLURM's next look
        until("SLURM's signal", lambda: is_signalled(trainer))
    job.started_again(1)
    cluster.limit(job, 60)
    assert int(job.done()["Restarts"]) >= 1
    assert place.results() == undisturbed.results()


def test_a_signal_while_everything_is_still_starting(
    cluster: Cluster, prepared: Workspace, undisturbed: Workspace, free_folder: Path
) -> None:
    place = copy(cluster, prepared, free_folder / "early")
    job = cluster.submit(place.root, "--partition=preempt", *TRAIN)
    job.wait_for_log("^=== start 1")
    cluster.call("scancel", "--batch", "--signal=USR1", job.id)
    job.started_again(1)
    assert not place.state() or place.steps_done() == 0
    job.done()
    assert place.results() == undisturbed.results()


def test_scancel_and_a_new_job(
    cluster: Cluster, prepared: Workspace, undisturbed: Workspace, free_folder: Path
) -> None:
    place = copy(cluster, prepared, free_folder / "cancelled")
    job = cluster.submit(place.root, "--partition=preempt", *TRAIN)
    with frozen_after_step(place, 4) as trainer:
        cluster.call("scancel", job.id)
        until("SLURM's signal", lambda: is_signalled(trainer))
    job.wait("CANCELLED")
    job.wait_for_log(f"job {job.id} was cancelled and is not requeued")
    new = cluster.submit(place.root, "--partition=preempt", *TRAIN)
    assert new.done()["Restarts"] == "0"
    assert "Going on from step" in new.log
    assert place.results() == undisturbed.results()


@pytest.mark.slow
def test_a_trainer_that_ignores_signals(
    cluster: Cluster, prepared: Workspace, undisturbed: Workspace, free_folder: Path
) -> None:
    place = copy(cluster, prepared, free_folder / "stubborn")
    deaf = free_folder / "sitecustomize.py"
    deaf.write_text(
        "import os, signal\n"
        "catch = signal.signal\n"
        "if not os.environ.get('SLURM_RESTART_COUNT'):\n"
        "    signal.signal = lambda number, action: catch(number, signal.SIG_IGN)\n"
    )
    deaf.chmod(0o644)
    bind = {"APPTAINER_BIND": f"{deaf}:{SITE_PACKAGES}/sitecustomize.py"}
    job = cluster.submit(place.root, "--partition=preempt", *TRAIN, **bind)
    trainer = freeze_after_step(place, 7)
    cluster.occupy(job.facts["NodeList"])
    until("the trainer to be killed", lambda: not frozen_again(trainer))
    job.done()
    assert "Going on from step" in job.log
    assert place.results() == undisturbed.results()


def frozen_again(trainer: int) -> bool:
    """Keep a process from its end, which would come before SLURM kills it; SLURM wakes what it signals."""
    try:
        os.kill(trainer, signal.SIGSTOP)
    except ProcessLookupError:
        return False
    return "State:\tZ" not in Path(f"/proc/{trainer}/status").read_text()
