"""slurm/container.slurm and inside.sh without Python: exit codes, caps, refusals, signals, marks in the log."""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cluster.commands import ROOT
from tests.cluster.slurm import Cluster, give, until

pytestmark = pytest.mark.cluster

GIT = ("git", "-c", "user.name=test", "-c", "user.email=test@example.org")


@pytest.fixture
def clone(bare_cluster: Cluster, free_folder: Path) -> Callable[[], Path]:
    """Makes a repository with nothing but the scripts."""

    def make() -> Path:
        folder = free_folder / f"clone-{len(list(free_folder.iterdir()))}"
        bare_cluster.call("mkdir", folder)
        scripts = [path for path in (ROOT / "slurm").iterdir() if path.name != "site.env"]
        bare_cluster.call("mkdir", "slurm", "state", ".dvc", cwd=folder)
        for script in scripts:
            shutil.copy(script, folder / "slurm")
        (folder / ".gitignore").write_text("/state/\n/.dvc/tmp/\n/slurm/site.env\n/slurm-*.out\n")
        give(folder)
        for command in (
            ("git", "init", "-q"),
            ("git", "add", "slurm", ".gitignore"),
            (*GIT, "commit", "-q", "-m", "x"),
        ):
            bare_cluster.call(*command, cwd=folder)
        return folder

    return make


def test_the_exit_code_is_the_commands(bare_cluster: Cluster, clone: Callable[[], Path]) -> None:
    job = bare_cluster.submit(clone(), "--partition=preempt", "bash", "-c", "echo at work; exit 7")
    facts = job.wait("FAILED")
    assert (facts["ExitCode"], facts["Restarts"], facts["JobName"]) == ("7:0", "0", "latentwire")
    assert "at work" in job.log
    assert "failed with exit code 7; it is not requeued" in job.log


def test_a_controller_that_is_away_is_waited_for(bare_cluster: Cluster, clone: Callable[[], Path]) -> None:
    folder = clone()
    wait = "until [ -e state/away ]; do sleep 0.2; done"
    job = bare_cluster.submit(
        folder, "--partition=preempt", "bash", "-c", f"[ ! -e state/ran ] || exit 0; touch state/ran; {wait}; exit 75"
    )
    until("the command to run", lambda: (folder / "state/ran").exists())
    with bare_cluster.without_controller():
        (folder / "state/away").touch()
        time.sleep(15)
    facts = job.wait("COMPLETED")
    assert (facts["ExitCode"], facts["Restarts"]) == ("0:0", "1")
    assert f"checkpointed; job {job.id} is requeued" in job.log
    assert "cancelled" not in job.log


def test_no_progress_stops_a_crash_loop(bare_cluster: Cluster, clone: Callable[[], Path]) -> None:
    job = bare_cluster.submit(clone(), "--partition=preempt", "bash", "-c", "exit 75", LATENTWIRE_MAX_STALLED="2")
    facts = job.wait("FAILED")
    assert (facts["ExitCode"], facts["Restarts"]) == ("75:0", "1")
    assert f"the last 2 starts of job {job.id} finished no stage and no checkpoint" in job.log


def test_requeues_are_capped(bare_cluster: Cluster, clone: Callable[[], Path]) -> None:
    progress = "mkdir -p state/run/checkpoints/step-$RANDOM$RANDOM; exit 75"
    job = bare_cluster.submit(clone(), "--partition=preempt", "bash", "-c", progress, LATENTWIRE_MAX_REQUEUES="1")
    facts = job.wait("FAILED")
    assert (facts["ExitCode"], facts["Restarts"]) == ("75:0", "1")
    assert "was started 2 times, and LATENTWIRE_MAX_REQUEUES is 1" in job.log


def test_a_verdict_says_what_dvc_hides(bare_cluster: Cluster, clone: Callable[[], Path]) -> None:
    command = 'test -e state/once && exit 0; touch state/once; echo "{\\"exit\\":75}" >"$UNBROKEN_VERDICT"; exit 255'
    job = bare_cluster.submit(clone(), "--partition=preempt", "bash", "-c", command)
    assert job.done()["Restarts"] == "1"


def test_scancel_is_the_end(bare_cluster: Cluster, clone: Callable[[], Path]) -> None:
    place = clone()
    job = bare_cluster.submit(place, "--partition=preempt", "python3", "-c", catching("raise SystemExit(75)"))
    until("the command to begin", (place / "state/begun").exists)
    bare_cluster.call("scancel", job.id)
    job.wait("CANCELLED")
    job.wait_for_log(f"job {job.id} was cancelled and is not requeued")
    assert job.restarts == 0


def catching(then: str) -> str:
    """Python that waits for TERM, which it was started without."""
    return (
        "import pathlib, signal, sys\n"
        f"def caught(*_): {then}\n"
        "signal.signal(signal.SIGTERM, caught)\n"
        "again = pathlib.Path('state/begun').exists()\n"
        "pathlib.Path('state/begun').touch()\n"
        "sys.exit(0) if again else signal.pause()\n"
    )


@pytest.mark.parametrize(
    "signalled",
    [("--signal=USR1",), ("--batch", "--signal=USR1"), ("--full", "--signal=TERM"), ("--batch", "--signal=USR2")],
    ids=" ".join,
)
def test_every_signal_is_a_request_to_come_again(
    signalled: tuple[str, ...], bare_cluster: Cluster, clone: Callable[[], Path]
) -> None:
    place = clone()
    job = bare_cluster.submit(place, "--partition=preempt", "python3", "-c", catching("raise SystemExit(75)"))
    until("the command to begin", (place / "state/begun").exists)
    bare_cluster.call("scancel", *signalled, job.id)
    assert job.done()["Restarts"] == "1"


def test_the_grace_time_of_a_partition(bare_cluster: Cluster, clone: Callable[[], Path]) -> None:
    place = clone()
    job = bare_cluster.submit(place, "--partition=preempt-grace", "python3", "-c", catching("raise SystemExit(75)"))
    until("the command to begin", (place / "state/begun").exists)
    bare_cluster.preempt(job)
    assert job.done()["Restarts"] == "1"


@pytest.mark.slow
def test_a_command_that_hears_no_signal_outlives_its_time_limit(
    bare_cluster: Cluster, clone: Callable[[], Path]
) -> None:
    deaf = "[ -e state/begun ] && exit 0; touch state/begun; sleep 500"
    job = bare_cluster.submit(clone(), "--partition=preempt --time=1", "bash", "-c", deaf)
    assert job.done()["Restarts"] == "1"
    assert f"the time limit is reached; job {job.id} is requeued" in job.log


def test_a_lost_node_is_done_without(bare_cluster: Cluster, clone: Callable[[], Path]) -> None:
    place = clone()
    options = "--partition=preempt --nodes=1-2 --exclude=node1,node2"
    job = bare_cluster.submit(place, options, "python3", "-c", catching("raise SystemExit(75)"))
    until("the command to begin", (place / "state/begun").exists)
    assert job.facts["NumNodes"] == "2"
    with bare_cluster.without("node4"):
        facts = job.done()
    assert (facts["NodeList"], facts["Restarts"]) == ("node3", "1")


def test_parking(bare_cluster: Cluster, clone: Callable[[], Path]) -> None:
    place = clone()
    programs = place / ".venv/bin"
    programs.mkdir(parents=True)
    for name in ("dvc", "latentwire"):
        (programs / name).write_text(
            f'#!/bin/sh\necho "{name} $*" >>state/calls\n[ "$1" != stage ] || printf "prepare\\nencode@tiny\\n"\n'
        )
        (programs / name).chmod(0o755)
    give(place)
    once = "[ -e state/begun ] && exit 0; touch state/begun; exit 75"
    bare_cluster.submit(place, "--partition=preempt", "bash", "-c", once, LATENTWIRE_PARK="1").done()
    begin = ["dvc stage list --name-only", "dvc repro encode@tiny", "latentwire fetch --all"]
    assert (place / "state/calls").read_text().splitlines() == [*begin, "latentwire park --all", *begin]


def test_another_commit_is_refused(bare_cluster: Cluster, clone: Callable[[], Path]) -> None:
    place = clone()
    job = bare_cluster.submit(place, "--partition=preempt", "bash", "-c", "touch state/begun; sleep 2; exit 75")
    until("the command to begin", (place / "state/begun").exists)
    bare_cluster.call(*GIT, "commit", "-q", "--allow-empty", "-m", "another", cwd=place)
    facts = job.wait("FAILED")
    assert (facts["ExitCode"], facts["Restarts"]) == ("2:0", "1")
    assert re.search(r"was submitted with commit \w{12}, but \S+ is at \w{12}; it runs nothing else", job.log)


def test_a_commit_after_the_submission_is_refused(bare_cluster: Cluster, clone: Callable[[], Path]) -> None:
    place = clone()
    job = bare_cluster.submit(place, "--partition=preempt --begin=now+4", "true")
    bare_cluster.call("sleep", "1.1")
    bare_cluster.call(*GIT, "commit", "-q", "--allow-empty", "-m", "another", cwd=place)
    job.wait("FAILED")
    assert "it runs nothing else" in job.log


def test_uncommitted_changes_are_refused(bare_cluster: Cluster, clone: Callable[[], Path]) -> None:
    place = clone()
    bare_cluster.call("bash", "-c", "echo '# changed' >>slurm/site.env.example", cwd=place)
    job = bare_cluster.submit(place, "--partition=preempt", "true")
    assert job.wait("FAILED")["ExitCode"] == "2:0"
    assert "M slurm/site.env.example. Next: commit or restore them" in job.log


def test_two_jobs_in_one_clone_are_refused(bare_cluster: Cluster, clone: Callable[[], Path]) -> None:
    place = clone()
    first = bare_cluster.submit(place, "--partition=preempt", "python3", "-c", catching("raise SystemExit(0)"))
    until("the command to begin", (place / "state/begun").exists)
    second = bare_cluster.submit(place, "--partition=preempt", "true")
    second.wait("FAILED")
    assert f"job {first.id} works in {place} already" in second.log
    bare_cluster.call("scancel", "--signal=TERM", first.id)
    first.done()
    assert bare_cluster.submit(place, "--partition=preempt", "true").done()["Restarts"] == "0"


def test_only_a_dead_owners_lock_is_removed(bare_cluster: Cluster, clone: Callable[[], Path]) -> None:
    place = clone()
    bare_cluster.submit(place, "--partition=preempt", "true").done()
    _, host, pid, since = (place / ".dvc/tmp/owner").read_text().split()
    lock = place / ".dvc/tmp/rwlock"
    for owner, kept in ((int(pid), False), (1, True)):
        lock.write_text(json.dumps({"data": {"write": {"pid": owner, "cmd": "dvc repro"}}}))
        (place / ".dvc/tmp/owner").write_text(f"999999 {host} {pid} {since}\n")
        bare_cluster.submit(place, "--partition=preempt", "true").done()
        assert lock.exists() == kept


def test_it_submits_itself_with_the_facts_of_the_site(bare_cluster: Cluster, clone: Callable[[], Path]) -> None:
    place = clone()
    (place / "slurm/site.env").write_text('SBATCH_PARTITION=preempt\nLATENTWIRE_SBATCH="--nodes=1 --cpus-per-task=3"\n')
    said = bare_cluster.call(place / "slurm/container.slurm", "bash", "-c", "nproc; pwd", cwd=Path("/"))
    number = said.split()[-1]
    shown = until("the job", lambda: bare_cluster.call("scontrol", "--oneliner", "show", "job", number))
    assert "Partition=preempt" in shown
    assert "CPUs/Task=3" in shown
