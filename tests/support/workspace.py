"""A repository of its own with the real pipeline and code, on tiny models and a tiny task."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from latentwire.dvc_files import list_inputs
from latentwire.rehearsal.sandbox import small_params
from tests.support.warm.client import can_fork
from tests.support.warm.launch import WarmPython

ROOT = Path(__file__).parents[2]
COPIED = (
    "src",
    "dvc.yaml",
    "assets.lock",
    ".gitignore",
    ".dvcignore",
    ".dvc/config",
    ".dvc/.gitignore",
    "reports/templates",
    "slurm",
)
TRAIN = ("train", "--method", "wire", "--task", "tiny", "--seed", "0")
ITEM = "wire-tiny-0"
_SHAPE = {"kind": "wire", "slots": 1, "width": 16, "depth": 1, "heads": 2, "hidden": 16, "dropout": 0.1}
SHORT_WIRE: dict[str, Any] = {**_SHAPE, "receivers": ["llama", "gemma"]}
"""For `methods`: a wire of one vector, to be an ablation."""


@dataclass(frozen=True)
class Workspace:
    """A clone in a temporary folder."""

    root: Path
    warm: WarmPython | None = None
    """Where `run` gets its Python programs from; None starts an interpreter for each, as `start` always does."""

    @property
    def environment(self) -> dict[str, str]:
        """The variables of its processes: its own code, its own MLflow store, no network."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW_", "UNBROKEN_", "PYTHON", "SLURM_"))}
        path = f"{Path(sys.executable).parent}:{kept['PATH']}"
        own = {"PYTHONPATH": "src", "PATH": path, "DVC_SITE_CACHE_DIR": str(self.root / ".cache/dvc")}
        # Tests that are not about several processes shall not start one for each core.
        return {
            **kept,
            **own,
            "PYTHONUNBUFFERED": "1",
            "HF_HUB_OFFLINE": "1",
            "LATENTWIRE_PROCESSES": "1",
            "SHELL": "/bin/sh",
        }

    def cold(self) -> Workspace:
        """The same place, where every program starts an interpreter: for what libraries read when they are imported."""
        return replace(self, warm=None)

    def set(self, **changes: Any) -> None:
        """Change params.yaml: `set(train__steps=3)` sets train.steps."""
        path = self.root / "params.yaml"
        values = yaml.safe_load(path.read_text())
        for key, value in changes.items():
            section = values
            *parents, last = key.split("__")
            for parent in parents:
                section = section[parent]
            section[last] = value
        path.write_text(yaml.safe_dump(values, sort_keys=False))

    def start(self, *command: str, **variables: str) -> subprocess.Popen[str]:
        """Start a command here, in a process group of its own."""
        return subprocess.Popen(
            command,
            cwd=self.root,
            env={**self.environment, **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, *command: str, code: int = 0, limit: float = 300, **variables: str) -> str:
        """Run a command to its end within `limit` seconds, check its exit code and return what it printed."""
        arguments = _python_arguments(command)
        if self.warm and can_fork(arguments):
            path = f"{self.warm.folder}:{self.environment['PATH']}"  # DVC's stages are forks too
            done = self.warm.run(arguments, self.root, {**self.environment, "PATH": path, **variables}, limit)
            assert done.returncode == code, done.stdout
            return done.stdout
        process = self.start(*command, **variables)
        try:
            output, _ = process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise
        assert process.returncode == code, output
        return output

    def stage(self, name: str, *arguments: str, code: int = 0, **variables: str) -> str:
        """Run one stage to its end."""
        return self.run(sys.executable, "-m", f"latentwire.stages.{name}", *arguments, code=code, **variables)

    def start_stage(self, name: str, *arguments: str, **variables: str) -> subprocess.Popen[str]:
        """Start one stage."""
        return self.start(sys.executable, "-m", f"latentwire.stages.{name}", *arguments, **variables)

    def dvc(self, *arguments: str, code: int = 0) -> str:
        """Run DVC."""
        return self.run(str(Path(sys.executable).parent / "dvc"), *arguments, code=code, limit=900)

    def state(self, item: str = ITEM) -> list[Path]:
        """The run folders of a train item, oldest name first."""
        return sorted((self.root / "state").glob(f"{item}-*"))

    def steps_done(self, item: str = ITEM) -> int:
        """Lines of the newest journal of an item; 0 before the first."""
        journals = sorted(self.root.glob(f"state/{item}-*/journal.jsonl"), key=lambda path: path.stat().st_mtime)
        return journals[-1].read_bytes().count(b"\n") if journals else 0

    def wait_for_step(self, process: subprocess.Popen[str], step: int, item: str = ITEM, seconds: float = 120) -> None:
        """Wait until a step is in the journal."""
        deadline = time.monotonic() + seconds
        while self.steps_done(item) < step:
            assert process.poll() is None, process.communicate()[0]
            assert time.monotonic() < deadline, f"step {step} was not reached in {seconds:.0f} s"
            time.sleep(0.005)

    def results(self, folders: Iterable[str] = ("results/train",)) -> dict[str, bytes]:
        """Relative name → content of every result file."""
        files = (path for folder in folders for path in (self.root / folder).rglob("*") if path.is_file())
        return {str(path.relative_to(self.root)): path.read_bytes() for path in sorted(files)}


def make(root: Path, tasks: int = 1, warm: WarmPython | None = None, **changes: Any) -> Workspace:
    """Build a workspace with one task or two; see `Workspace.set` for the changes of its parameters."""
    root.mkdir(parents=True)
    for name in COPIED:
        source, target = ROOT / name, root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            left_out = ("__pycache__", "figures", "tables", "*.egg-info", "site.env")
            shutil.copytree(source, target, ignore=shutil.ignore_patterns(*left_out))
        elif source.exists():
            shutil.copy(source, target)
    values = yaml.safe_load((ROOT / "params.yaml").read_text())
    (root / "params.yaml").write_text(yaml.safe_dump(small_params(values, root, tasks), sort_keys=False))
    workspace = Workspace(root, warm)
    workspace.set(**changes)
    list_inputs(root)
    for command in (["init", "-q", "-b", "main"], ["add", "-A"], ["commit", "-q", "-m", "start"]):
        identity = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
        subprocess.run(["git", *identity, *command], cwd=root, check=True)
    return workspace


def copy(source: Workspace, root: Path, **changes: Any) -> Workspace:
    """A second workspace with everything that the first one has."""
    shutil.copytree(source.root, root, symlinks=True)
    workspace = Workspace(root, source.warm)
    workspace.set(**changes)
    return workspace


def _python_arguments(command: Sequence[str]) -> list[str]:
    """What follows `python` in the command; empty where it is no Python program."""
    if command[0] == sys.executable:
        return list(command[1:])
    script = Path(sys.executable).parent / command[0]  # an absolute path stays as it is
    shebang = b"#!" + str(script.with_name("python")).encode()
    return [str(script), *command[1:]] if script.is_file() and script.read_bytes().startswith(shebang) else []
