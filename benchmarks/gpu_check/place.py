"""The folder that a check trains in: its parameters, and the real stages in it, each within the time that is left."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from latentwire.environment import rehearsal_environment
from latentwire.errors import LatentWireError
from latentwire.rehearsal.run import tiny_params
from latentwire.yaml_files import read_yaml

ROOT = Path(__file__).resolve().parents[2]
Models = Literal["real", "tiny"]
Values = dict[str, Any]


class OutOfTimeError(LatentWireError):
    """The minutes of the check were over."""


@dataclass(frozen=True)
class Place:
    """A folder with parameters of its own."""

    folder: Path
    values: Values
    until: float
    """When the time is over, by the monotonic clock."""

    @property
    def device(self) -> str:
        """`cuda` or `cpu`."""
        return str(self.values["runtime"]["device"])

    @property
    def item(self) -> dict[str, str]:
        """The options of the one training that its parameters name."""
        train = self.values["train"]
        task, method, seed = self.values["prepare"]["tasks"][0], train["methods"][0], train["seeds"][0]
        return {"--method": method, "--task": task, "--seed": str(seed)}

    @property
    def item_name(self) -> str:
        """What the folders of that training are called."""
        return "-".join(self.item.values()).replace("--", "-")

    def set(self, **changes: Mapping[str, Any]) -> None:
        """Write params.yaml: the values of the place with changed keys of some sections, of this call alone."""
        changed = {name: {**self.values[name], **keys} for name, keys in changes.items()}
        (self.folder / "params.yaml").write_text(json.dumps({**self.values, **changed}), encoding="utf-8")

    def stage(self, name: str, *arguments: str, codes: tuple[int, ...] = (0,), **variables: str) -> str:
        """Run a stage to its end; return what it printed.

        Raises:
            LatentWireError: It ended with another exit code than one of `codes`, or the time was over.
        """
        return self.run([f"latentwire.stages.{name}", *arguments], codes, **variables)

    def run(self, module: list[str], codes: tuple[int, ...] = (0,), **variables: str) -> str:
        """Run a module of Python, as `stage` does."""
        child = self.start(module, **variables)
        try:
            printed, _ = child.communicate(timeout=max(0.0, self.until - time.monotonic()))
        except subprocess.TimeoutExpired:
            raise OutOfTimeError(f"the minutes were over in {module[0]}") from None
        finally:
            end_group(child)
        if child.returncode not in codes:
            last = "\n".join(printed.strip().splitlines()[-6:])
            raise LatentWireError(f"{module[0]} ended with {child.returncode}, expected {codes[0]}. It printed: {last}")
        return printed

    def start(self, module: list[str], **variables: str) -> subprocess.Popen[str]:
        """Start a module of Python in this folder, in a process group of its own."""
        environment = {**rehearsal_environment(self.folder, None), **variables}
        paths = [str(ROOT / "src"), str(ROOT), environment.get("PYTHONPATH", "")]
        return subprocess.Popen(
            [sys.executable, "-m", *module],
            cwd=self.folder,
            env={**environment, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )


def end_group(child: subprocess.Popen[str]) -> None:
    """End a child that is still at work, and all that it started."""
    if child.poll() is None:
        os.killpg(child.pid, signal.SIGKILL)
        child.communicate()


def make_place(folder: Path, device: str, models: Models, until: float, root: Path = ROOT) -> Place:
    """Write parameters for one short training on a device, then prepare and encode its data.

    Raises:
        LatentWireError: A stage failed, as where models or data are missing.
    """
    given = read_yaml(root / "params.yaml")
    values: Values = dict(tiny_params(given, folder / "inputs") if models == "tiny" else _short_params(given))
    if models == "real":
        _link_models(folder, root)
    if device == "cuda":
        values["runtime"] = {**values["runtime"], "device": device, "numerics": "native"}
    place = Place(folder, values, until)
    place.set()
    place.stage("prepare")
    place.stage("encode", "--task", place.item["--task"])
    return place


def _short_params(values: Mapping[str, Any]) -> Values:
    """The user's models, batch and shards, one training of six steps on few texts."""
    train = {"methods": values["train"]["methods"][:1], "seeds": values["train"]["seeds"][:1], "steps": 6, "warmup": 1}
    moments = {"validate": {"every": 3, "examples": 16}, "checkpoint": {"every": 2, "keep": 3}}
    limits = {"train": 256, "validation": 32, "test": 16}
    return {
        **values,
        "prepare": {**values["prepare"], "tasks": values["prepare"]["tasks"][:1], "limits": limits},
        "train": {**values["train"], **train, **moments},
        "aggregate": {**values["aggregate"], "metrics": {}},  # of the tasks that are not here
    }


def _link_models(folder: Path, root: Path) -> None:
    """What was fetched and converted once is used here too."""
    (root / ".cache/models").mkdir(parents=True, exist_ok=True)
    (folder / ".cache").mkdir()
    for name in ("assets", "assets.lock", ".cache/models"):
        (folder / name).symlink_to(root / name)
