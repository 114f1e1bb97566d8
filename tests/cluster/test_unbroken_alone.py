"""`unbroken` without this repository: its wheel, the programs of its README, and its batch script on a real SLURM."""

from __future__ import annotations

import shutil
import subprocess
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cluster.commands import ROOT, USER, run
from tests.cluster.slurm import Cluster, Job, give, until
from tests.support import standalone
from tests.support.toy_training import contents

pytestmark = pytest.mark.cluster

SYSTEM_PYTHON = "/usr/bin/python3.11"
"""Debian's: the ordinary user may not run the one that root has installed for the tests."""
FINAL = "checkpoints/step-00000060"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return standalone.build_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment that has the wheel and not this repository."""
    return standalone.make_environment(tmp_path_factory.mktemp("alone") / "environment", wheel)


def test_the_wheel_is_the_package_and_nothing_else(wheel: Path) -> None:
    listed = ("git", "ls-files", "--cached", "--others", "--exclude-standard", "src/unbroken")
    tracked = run(*listed, cwd=ROOT).split()
    modules = {name.removeprefix("src/") for name in tracked if (ROOT / name).exists()}
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert packed == modules - {"unbroken/pyproject.toml", "unbroken/LICENSE"}
    assert {"unbroken/py.typed", "unbroken/README.md", "unbroken/train.sbatch"} <= packed


def test_the_repository_is_not_there(python: Path, tmp_path: Path) -> None:
    assert "No module named 'latentwire'" in run(python, "-c", "import latentwire", cwd=tmp_path, code=1)
    where = run(python, "-c", "import unbroken; print(unbroken.__file__)", cwd=tmp_path).strip()
    assert where == str(next(python.parents[1].glob("lib/*/site-packages")) / "unbroken/__init__.py")


def test_every_module_is_imported(python: Path, tmp_path: Path) -> None:
    names = (
        "import pkgutil, unbroken\n"
        "for module in pkgutil.walk_packages(unbroken.__path__, 'unbroken.'):\n"
        "    if 'integrations' not in module.name: __import__(module.name); print(module.name)"
    )
    assert {"unbroken.run", "unbroken.launcher.agent"} <= set(run(python, "-c", names, cwd=tmp_path).split())


def test_the_example_stops_and_goes_on(python: Path, tmp_path: Path) -> None:
    program = standalone.write_example(tmp_path / "train.py")
    run(python, program, cwd=tmp_path, UNBROKEN_FOLDER="one")
    run(python, program, cwd=tmp_path, code=75, UNBROKEN_FOLDER="two", UNBROKEN_INTERRUPT="TERM@7")
    run(python, program, cwd=tmp_path, UNBROKEN_FOLDER="two")
    assert contents(tmp_path / "two" / FINAL) == contents(tmp_path / "one" / FINAL)


def test_prove_certifies_the_example(python: Path, tmp_path: Path) -> None:
    program = standalone.write_example(tmp_path / "train.py")
    said = run(python, "-m", "unbroken", "prove", "--", python, program, cwd=tmp_path)
    assert "identical" in said
    said = run(python, "-m", "unbroken", "prove", "--sabotage", "rng", "--", python, program, cwd=tmp_path, code=3)
    assert "first at step" in said


@dataclass(frozen=True)
class Site:
    """A user of a cluster who has installed `unbroken` and copied its script."""

    cluster: Cluster
    python: Path
    folder: Path

    def call(self, *command: str | Path, code: int = 0, **variables: str) -> str:
        path = f"{self.python.parent}:/usr/sbin:/usr/bin:/sbin:/bin"
        return self.cluster.call(*command, cwd=self.folder, code=code, PATH=path, OMP_NUM_THREADS="1", **variables)

    def submit(self, options: str, *command: str, **variables: str) -> Job:
        words = ("sbatch", "--parsable", *options.split(), "train.sbatch", *command)
        return Job(self.cluster, self.call(*words, **variables).strip(), self.folder)

    def steps(self, run_folder: str = "run") -> int:
        journal = self.folder / run_folder / "journal.jsonl"
        return journal.read_bytes().count(b"\n") if journal.exists() else 0

    def wait_for_step(self, step: int, run_folder: str = "run") -> None:
        until(f"step {step} in {self.folder / run_folder}", lambda: self.steps(run_folder) >= step)

    def final(self, run_folder: str = "run") -> dict[str, bytes]:
        return contents(self.folder / run_folder / FINAL)


@pytest.fixture(scope="module")
def user_python(wheel: Path, free_folder: Path) -> Path:
    """The environment again, for the ordinary user."""
    if not Path(SYSTEM_PYTHON).exists():
        pytest.skip(f"no {SYSTEM_PYTHON}, which the ordinary user could run. Next: apt-get install python3.11")
    python = standalone.make_environment(free_folder / "environment", wheel, SYSTEM_PYTHON)
    seen = subprocess.run(["runuser", "-u", USER, "--", python, "-c", "import torch"], cwd="/", capture_output=True)
    if seen.returncode != 0:
        pytest.skip(f"user {USER} cannot read the packages of this environment: {seen.stderr.decode()[-200:]}")
    return python


@pytest.fixture
def new_site(bare_cluster: Cluster, user_python: Path, free_folder: Path) -> Iterator[Callable[[], Site]]:
    made: list[Path] = []

    def make() -> Site:
        folder = free_folder / f"site-{len(list(free_folder.iterdir()))}"
        folder.mkdir()
        made.append(folder)
        (installed,) = user_python.parents[1].glob("lib/*/site-packages/unbroken/train.sbatch")
        shutil.copy(installed, folder)
        standalone.write_example(folder / "train.py", 0.3)
        standalone.write_rank_example(folder / "ranks.py", 0.3)
        give(folder)
        return Site(bare_cluster, user_python, folder)

    yield make
    for folder in made:
        shutil.rmtree(folder)


@pytest.fixture
def site(new_site: Callable[[], Site]) -> Site:
    return new_site()


@pytest.fixture(scope="module")
def expected(user_python: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, bytes]]:
    """Final checkpoints of runs outside SLURM, which nothing interrupted, by program; one process each."""
    folder = tmp_path_factory.mktemp("expected")
    standalone.write_example(folder / "train.py")
    standalone.write_rank_example(folder / "ranks.py")
    for name in ("train.py", "ranks.py"):
        run(user_python, name, cwd=folder, UNBROKEN_FOLDER=f"run-{name}", OMP_NUM_THREADS="1")
    return {name: contents(folder / f"run-{name}" / FINAL) for name in ("train.py", "ranks.py")}


@pytest.mark.parametrize("partition", ["preempt", "preempt-grace"])
def test_a_preempted_run_ends_in_the_same_bytes(
    partition: str, site: Site, expected: dict[str, dict[str, bytes]]
) -> None:
    job = site.submit(f"--partition={partition}", "python", "train.py")
    site.wait_for_step(5)
    site.cluster.preempt(job)
    assert int(job.done()["Restarts"]) >= 1
    assert site.final() == expected["train.py"]


def test_the_ranks_of_srun_are_preempted_together(site: Site, expected: dict[str, dict[str, bytes]]) -> None:
    job = site.submit("--partition=preempt --ntasks=2 --nodes=1", "python", "ranks.py")
    site.wait_for_step(5)
    site.cluster.preempt(job)
    assert int(job.done()["Restarts"]) >= 1
    assert site.final() == expected["ranks.py"]


def test_a_run_under_torchrun_goes_on(site: Site, expected: dict[str, dict[str, bytes]]) -> None:
    """torchrun makes 1 of 75; the verdict says what it was."""
    torchrun = "python -m torch.distributed.run --nproc-per-node=2 --master-port=29871 ranks.py"
    job = site.submit("--partition=preempt", *torchrun.split())
    site.wait_for_step(5)
    site.call("scancel", "--signal=TERM", job.id)
    assert job.done()["Restarts"] == "1"
    assert site.final() == expected["ranks.py"]


def test_a_run_outlives_its_time_limit(site: Site, expected: dict[str, dict[str, bytes]]) -> None:
    """SLURM looks at the clock twice a minute: the first start has to take longer than that, on any machine."""
    command = ("bash", "-c", '[ -n "${SLURM_RESTART_COUNT:-}" ] || export PAUSE_S=2; exec python train.py')
    job = site.submit("--partition=preempt --time=1", *command)
    job.started_again(1)
    site.cluster.limit(job, 60)
    assert int(job.done()["Restarts"]) >= 1
    assert site.final() == expected["train.py"]


def test_a_task_of_an_array_requeues_itself_alone(site: Site, expected: dict[str, dict[str, bytes]]) -> None:
    """The last task that starts has the number of the array, and requeueing that number would requeue all."""
    wrap = ("bash", "-c", "UNBROKEN_FOLDER=run-$SLURM_ARRAY_TASK_ID exec python train.py")
    array = site.submit("--partition=preempt --array=0-1 --output=slurm-%a.out", *wrap)
    for task in ("0", "1"):
        site.wait_for_step(5, f"run-{task}")
    owner = next(task for task in ("0", "1") if f"JobId={array.id} " in site.call(*_show(array, task)))
    other = {"0": "1", "1": "0"}[owner]
    site.call("scancel", "--signal=TERM", f"{array.id}_{owner}")
    for task, restarts in ((owner, "1"), (other, "0")):
        until(f"task {task} to end", lambda task=task: "JobState=COMPLETED" in site.call(*_show(array, task)))  # type: ignore[misc]
        assert f"Restarts={restarts} " in site.call(*_show(array, task))
        assert site.final(f"run-{task}") == expected["train.py"]


def _show(array: Job, task: str) -> tuple[str, ...]:
    return ("scontrol", "--oneliner", "show", "job", f"{array.id}_{task}")


def test_a_cancelled_run_is_not_requeued(site: Site) -> None:
    job = site.submit("--partition=preempt", "python", "train.py")
    site.wait_for_step(3)
    site.call("scancel", job.id)
    assert job.wait("CANCELLED")["Restarts"] == "0"


def test_a_failed_command_is_not_requeued(site: Site) -> None:
    """Nor is one that failed after a start that was to come again: its verdict is removed."""
    once = '[ -e once ] && exit 7; touch once; echo \'{"exit":75}\' >"$UNBROKEN_VERDICT"; exit 1'
    job = site.submit("--partition=preempt", "bash", "-c", once)
    facts = job.wait("FAILED")
    assert (facts["ExitCode"], facts["Restarts"]) == ("7:0", "1")


def test_a_signal_before_python_can_catch_it_is_no_failure(site: Site) -> None:
    once = "[ -e once ] && exit 0; touch once; kill -USR1 $$; sleep 100"
    assert site.submit("--partition=preempt", "bash", "-c", once).done()["Restarts"] == "1"
