"""A clone of the repository in which DVC runs experiments: nothing of the checkout itself changes.

`dvc exp run` in the clone's workspace, not with `--temp`: what is stopped in a temporary copy is gone with it, and here
a training goes on from its checkpoint. `dvc repro` takes no parameters, and leaves no record of what was tried.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from latentwire.environment import clone_environment
from latentwire.errors import LatentWireError
from latentwire.execution.sessions import read_event_logs, sessions_from_logs
from latentwire.params.overrides import Overrides
from tools.clones import update_clone
from tools.experiments.plan import Trial
from tools.experiments.stored import Facts
from unbroken.checkpoint.store import load_checkpoint

FOLDER = Path(".cache/experiments")


@dataclass(frozen=True)
class Workbench:
    """The clone, at the commit of its checkout."""

    clone: Path

    @classmethod
    def open(cls, root: Path) -> Workbench:
        """Clone the checkout at `root`, or bring the clone that is there to its commit.

        Raises:
            LatentWireError: Git failed; the message says how.
        """
        bench = cls(root.resolve() / FOLDER / "clone")
        update_clone(root, bench.clone)
        return bench

    def run_trial(self, trial: Trial) -> Facts:
        """Train, measure, and say what it took.

        Raises:
            LatentWireError: A stage failed.
        """
        began, cpu = datetime.now(UTC), _child_cpu_seconds()
        self._run_experiment(trial.name, trial.overrides, trial.item.stage("train"))
        cpu = _child_cpu_seconds() - cpu
        facts = self._measure("--method", trial.method, "--task", trial.task, "--seed", str(trial.seed))
        return {**facts, **self._time(trial, began, cpu)}

    def measure_without_wire(self, task: str, overrides: Overrides) -> Facts:
        """What is known of the validation texts of a task without any wire.

        Raises:
            LatentWireError: A stage failed.
        """
        self._run_experiment(f"features-{task}", overrides, f"encode@{task}")
        return self._measure("--task", task)

    def _run_experiment(self, name: str, overrides: Overrides, target: str) -> None:
        # What the experiment before this one set, and a former try that came to its end without being measured.
        self._call("git", "checkout", "--quiet", "--force", "--", ".")
        self._call(*_DVC, "exp", "remove", "--quiet", name, check=False)
        settings = [part for key, value in overrides.items() for part in ("-S", f"{key}={_as_hydra(value)}")]
        self._call(*_DVC, "exp", "run", "--name", name, *settings, target)

    def _measure(self, *arguments: str) -> Facts:
        out = self.clone / ".cache/measured.json"
        self._call(sys.executable, "-m", "tools.experiments.measure", *arguments, "--out", str(out))
        return dict(json.loads(out.read_text(encoding="utf-8")))

    def _time(self, trial: Trial, began: datetime, cpu: float) -> Facts:
        """Starts of the training and their seconds; those of processors where one command did all of it, else null."""
        trained = load_checkpoint(self.clone / trial.item.results).manifest.identity
        runs = [s for s in sessions_from_logs(read_event_logs(self.clone / "state")) if s.item == trial.item.name]
        own = [s for s in runs if trained.startswith(s.identity)]
        whole = len(own) == 1 and own[0].start >= began
        seconds = round(sum(s.seconds for s in own), 1)
        return {"wall_s": seconds, "cpu_s": round(cpu, 1) if whole else None, "starts": len(own)}

    def _call(self, *command: str, check: bool = True) -> None:
        environment = {**clone_environment(self.clone.resolve()), "LATENTWIRE_PROCESSES": "1"}
        done = subprocess.run(command, cwd=self.clone, env=environment, check=False)
        if check and done.returncode:
            raise LatentWireError(
                f"`{' '.join(command)}` ended with {done.returncode} in {self.clone}, expected 0. "
                "Next: read what it printed above; the same command goes on from there."
            )


_DVC = (sys.executable, "-m", "dvc")


def _as_hydra(value: object) -> str:
    return f"[{','.join(map(str, value))}]" if isinstance(value, list) else str(value)


def _child_cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
