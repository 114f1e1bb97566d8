"""A real SLURM of virtual nodes on this machine, and what its tests ask of it. Jobs run as the ordinary user."""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import pytest

from tests.cluster.commands import USER, run
from tests.support import workspace
from tests.support.workspace import ITEM, Workspace

HERE = Path(__file__).parent
OVER = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY")
PATIENCE_S = 900.0
STEPS = 40
T = TypeVar("T")


def until(what: str, ask: Callable[[], T | None], seconds: float = PATIENCE_S) -> T:
    """The first answer that is true."""
    deadline = time.monotonic() + seconds
    while not (answer := ask()):
        assert time.monotonic() < deadline, f"waited {seconds:.0f} s for {what}"
        time.sleep(0.02)
    return answer


@dataclass(frozen=True)
class Job:
    """A job of the cluster, by its number."""

    cluster: Cluster
    id: str
    place: Path
    """Folder from which it was submitted."""

    @property
    def facts(self) -> dict[str, str]:
        """What `scontrol show job` says."""
        shown = self.cluster.call("scontrol", "--oneliner", "show", "job", self.id)
        return dict(re.findall(r"(\w+)=(\S*)", shown.splitlines()[0]))

    @property
    def restarts(self) -> int:
        return int(self.facts["Restarts"])

    @property
    def log(self) -> str:
        path = self.place / f"slurm-{self.id}.out"
        return path.read_text() if path.exists() else ""

    def wait(self, *states: str) -> dict[str, str]:
        """Wait for a state, and return the facts then."""

        def reached() -> dict[str, str] | None:
            facts = self.facts
            if facts["JobState"] not in states and facts["JobState"] in OVER:
                raise AssertionError(f"job {self.id} is {facts['JobState']}, expected {states}\n{self.log}")
            return facts if facts["JobState"] in states else None

        return until(f"job {self.id} to be {states}\n{self.log[-3000:]}", reached)

    def wait_for_log(self, pattern: str) -> None:
        """Wait until a line of the log matches."""
        until(f"{pattern!r} in\n{self.log[-3000:]}", lambda: re.search(pattern, self.log, re.M))

    def started_again(self, restarts: int) -> None:
        """Wait until SLURM has started it so many times more than once."""

        def again() -> bool:
            facts = self.facts
            assert int(facts["Restarts"]) >= restarts or facts["JobState"] not in OVER, f"{facts}\n{self.log}"
            return int(facts["Restarts"]) >= restarts

        until(f"restart {restarts} of job {self.id}", again)
        self.wait_for_log(rf"^=== start {restarts + 1} of job {self.id}")

    def done(self) -> dict[str, str]:
        """Wait for its end, which has to be a good one, with one continuous log."""
        facts = self.wait("COMPLETED")
        assert facts["ExitCode"] == "0:0"
        marks = re.findall(rf"^=== start (\d+) of job {self.id},", self.log, re.M)
        assert marks == [str(start + 1) for start in range(int(facts["Restarts"]) + 1)]
        return facts


@dataclass(frozen=True)
class Cluster:
    """SLURM with its files in `folder`; jobs use `image` unless they say something else."""

    folder: Path
    image: str
    port: int
    """Of its controller; the numbers of its jobs begin with it."""

    def call(self, *command: str | Path, cwd: Path = Path("/"), code: int = 0, **variables: str) -> str:
        """Run a command as the ordinary user."""
        own = {"SLURM_CONF": str(self.folder / "slurm.conf"), "LATENTWIRE_IMAGE": self.image, "HF_HUB_OFFLINE": "1"}
        return run(*command, user=USER, cwd=cwd, code=code, **{**own, **variables})

    def submit(self, place: Path, options: str, *command: str, **variables: str) -> Job:
        """`sbatch OPTIONS slurm/container.slurm COMMAND…` in a clone."""
        words = ("sbatch", "--parsable", *options.split(), "slurm/container.slurm", *command)
        return Job(self, self.call(*words, cwd=place, **variables).strip().splitlines()[-1], place)

    def preempt(self, job: Job) -> None:
        """Take the nodes of a job away from it with a job in `normal`, and wait until it is started again."""
        before = job.restarts
        self.occupy(job.facts["NodeList"])
        job.started_again(before + 1)

    def occupy(self, node: str) -> None:
        """A short job of the higher partition, which needs the whole node."""
        options = (
            "--partition=normal",
            f"--nodelist={node}",
            "--gres=gpu:2",
            "--cpus-per-task=4",
            "--output=/dev/null",
        )
        self.call("sbatch", *options, "--wrap", "sleep 1")

    def limit(self, job: Job, minutes: int) -> None:
        """Let a job end so many minutes after its newest start."""
        change = (f"JobId={job.id}", f"TimeLimit={minutes}")
        run("scontrol", "update", *change, SLURM_CONF=str(self.folder / "slurm.conf"))

    @contextlib.contextmanager
    def without_controller(self) -> Iterator[None]:
        """Nobody who answers; jobs go on, and the controller is back afterwards."""
        own = {**os.environ, "SLURM_CONF": str(self.folder / "slurm.conf")}
        pid = int((self.folder / "pid/slurmctld").read_text())
        os.kill(pid, signal.SIGTERM)
        until("the controller to be gone", lambda: not Path(f"/proc/{pid}").exists())
        try:
            yield
        finally:
            subprocess.run(["slurmctld"], check=True, env=own)
            until("the controller to answer", lambda: "UP" in self.call("sh", "-c", "scontrol ping || true"))

    @contextlib.contextmanager
    def without(self, node: str) -> Iterator[None]:
        """A node whose daemon and processes are killed; it is back afterwards."""
        tasks = Path("/sys/fs/cgroup/freezer", f"slurm_{node}").rglob(f"job_{self.port}*/**/cgroup.procs")
        pids = [int(pid) for file in tasks for pid in file.read_text().split()]
        for pid in (int((self.folder / "pid" / node).read_text()), *pids):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        try:
            yield
        finally:
            own = {**os.environ, "SLURM_CONF": str(self.folder / "slurm.conf")}
            subprocess.run(["slurmd", "-N", node], check=True, env=own)
            idle = ("sinfo", "--noheader", f"--nodes={node}", "--partition=normal", "--format=%T")
            until(f"{node} to be back", lambda: self.call(*idle).strip() == "idle")


def give(folder: Path) -> None:
    """A folder becomes the ordinary user's."""
    subprocess.run(["chown", "-R", f"{USER}:{USER}", folder], check=True)


def make(folder: Path, **changes: Any) -> Workspace:
    """A clone with tiny models and data that belongs to the ordinary user."""
    made = workspace.make(folder, **changes)
    give(folder)
    return made


def copy(cluster: Cluster, source: Workspace, folder: Path) -> Workspace:
    """Another clone with all that the first one has computed, but not its logs."""
    cluster.call("cp", "-a", source.root, folder)
    for log in folder.glob("slurm-*.out"):
        log.unlink()
    return Workspace(folder)


def changed(cluster: Cluster, place: Workspace, **changes: Any) -> Workspace:
    """The same clone with other parameters, committed."""
    place.set(**changes)
    give(place.root)
    git = ("git", "-c", "user.name=test", "-c", "user.email=test@example.org")
    cluster.call(*git, "commit", "--quiet", "--all", "--message", "parameters", cwd=place.root)
    return place


def same_results(place: Workspace, reference: Workspace) -> None:
    """Weights, journals, predictions, statistics, tables, figures and dvc.lock, byte for byte."""
    assert (place.root / "dvc.lock").read_bytes() == (reference.root / "dvc.lock").read_bytes()
    folders = ("results", "reports/tables", "reports/figures")
    assert place.results(folders) == reference.results(folders)


def wait_for_step(place: Workspace, step: int, item: str = ITEM) -> None:
    until(f"step {step} in {place.root}", lambda: place.steps_done(item) >= step)


@pytest.fixture(scope="session")
def free_folder() -> Iterator[Path]:
    """A folder in which the ordinary user may write; those of pytest are root's."""
    folder = Path(tempfile.gettempdir()) / f"latentwire-cluster-{os.getpid()}"
    folder.mkdir(mode=0o755)
    give(folder)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def bare_cluster(free_folder: Path) -> Iterator[Cluster]:
    """SLURM without the image, for commands that need no Python."""
    for program in ("slurmctld", "slurmd", "munged"):
        if shutil.which(program) is None:
            pytest.skip(f"no {program} here. Next: as root, tests/cluster/install.sh")
    if os.geteuid() != 0:
        pytest.skip("SLURM's daemons are started as root. Next: run the tests as root.")
    if USER not in {entry.pw_name for entry in pwd.getpwall()}:
        pytest.skip(f"no user {USER} here. Next: as root, tests/cluster/install.sh")
    folder = free_folder.with_name(f"{free_folder.name}-slurm")  # munged wants no folder of another user above it
    port = 21000 + os.getpid() % 1000 * 8
    try:
        subprocess.run([HERE / "cluster-up.sh", folder], check=True, env={**os.environ, "PORT": str(port)})
        yield Cluster(folder, "none", port)
    finally:
        subprocess.run([HERE / "cluster-down.sh", folder], check=True)
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def cluster(bare_cluster: Cluster, image: Path) -> Cluster:
    """SLURM whose jobs run in the image."""
    return replace(bare_cluster, image=str(image))


@pytest.fixture(scope="session")
def prepared(cluster: Cluster, free_folder: Path) -> Workspace:
    """A clone after prepare, encode and baseline; not to be changed."""
    place = make(free_folder / "prepared", train__steps=STEPS)
    job = cluster.submit(place.root, "--partition=normal", "dvc", "repro", "baseline@tiny")
    job.done()
    return place


@pytest.fixture(scope="session")
def undisturbed(cluster: Cluster, prepared: Workspace, free_folder: Path) -> Workspace:
    """A clone after the whole pipeline, which nothing interrupted; not to be changed."""
    place = copy(cluster, prepared, free_folder / "undisturbed")
    assert cluster.submit(place.root, "--partition=normal").done()["Restarts"] == "0"
    return place
