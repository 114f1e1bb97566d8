"""`latentwire sandbox FOLDER`: a clone to learn in: the real pipeline on models and a task that are made up.

The models are random and some kilobytes in size: all stages take two minutes, and what they say means nothing.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from latentwire.dvc_files import list_inputs
from latentwire.errors import ConfigurationError
from latentwire.git import changed_files, clone_commit, commit_everything, resolve_commit
from latentwire.output_files import write_text_file
from latentwire.rehearsal.tiny import NO_ABLATIONS, tiny_causal_model, tiny_encoder_model, tiny_task
from latentwire.yaml_files import read_yaml
from unbroken.environment import has_avx2

ACTIVATE = ".cache/activate"
PUBLISHED = ("dvc.lock", "results/aggregate/stats.json", "reports/provenance.json")
"""Of the real models: here they would be wrong."""


def make_sandbox(root: Path, folder: Path) -> str:
    """Clone what is committed at `root` into a new folder and make it small; return what to type next.

    Raises:
        ConfigurationError: The folder is there already, or `root` has no commit.
        GitError: Git could not clone.
    """
    if folder.exists():
        raise ConfigurationError(f"{folder} is there already, expected a new folder. Next: name another one.")
    commit = resolve_commit(root)
    if commit is None:
        raise ConfigurationError(f"{root.resolve()} has no commit to clone. Next: `git commit` there.")
    clone_commit(root, commit, folder)
    for name in PUBLISHED:
        (folder / name).unlink(missing_ok=True)
    values = small_params(read_yaml(folder / "params.yaml"), folder)
    write_text_file(folder / "params.yaml", yaml.safe_dump(values, sort_keys=False))
    list_inputs(folder)
    write_activate(folder)
    commit_everything(folder, "sandbox", "Small models and a small task")
    missed = changed_files(root)
    said = f"Not in it, since they are not committed: {', '.join(missed)}.\n" if missed else ""
    return f"{said}Next: cd {shlex.quote(str(folder))} && . {ACTIVATE} && dvc repro"


def small_params(values: Mapping[str, Any], root: Path, tasks: int = 1) -> dict[str, Any]:
    """The parameters for small models and one task or two, which this writes to `inputs` and names from `root`."""
    inputs = root / "inputs"
    tiny_encoder_model(inputs / "sender")
    tiny_causal_model(inputs / "llama", "llama")
    tiny_causal_model(inputs / "gemma", "gemma3_text")
    models = {name: {"local": f"inputs/{name}", "reads_english": False} for name in ("sender", "llama", "gemma")}
    known = {"tiny": tiny_task(inputs / "task", texts=240)}
    if tasks == 2:
        known["other"] = tiny_task(inputs / "other", texts=240, seed=1)
    for task in known.values():
        task["source"]["local"] = str(Path(task["source"]["local"]).relative_to(root))
    wire = {**values["methods"]["wire"], "slots": 4, "width": 16, "depth": 1, "heads": 2, "hidden": 16}
    limits = {"train": 120, "validation": 20, "test": 60}
    sizes = {
        "methods": ["wire"],
        "seeds": [0],
        "ablations": NO_ABLATIONS,
        "steps": 30,
        "batch": 8,
        "warmup": 3,
        "lr": 0.01,
    }
    moments = {"validate": {"every": 7, "examples": 20}, "checkpoint": {"every": 5, "keep": 3}}
    fractions = {"validation": 0.1, "test": 0.3}
    kernels = "portable" if has_avx2() else "native"
    return {
        **values,
        "models": models,
        "tasks": known,
        "methods": {"wire": {**wire, "receivers": ["llama", "gemma"]}},
        "runtime": {"device": "cpu", "threads": 1, "dtype": "float32", "numerics": kernels},
        "prepare": {**values["prepare"], "tasks": list(known), "limits": limits, "fractions": fractions},
        "encode": {**values["encode"], "sender": "sender", "max_tokens": 16},
        "train": {**values["train"], **sizes, **moments},
        "aggregate": {**values["aggregate"], "metrics": {}},  # of the tasks that are not here
    }


def write_activate(folder: Path) -> None:
    """The commands of a terminal that sources it run the clone's code, with the packages of this Python."""
    here = folder.resolve()
    variables = {"PYTHONPATH": here / "src", "DVC_SITE_CACHE_DIR": here / ".cache/dvc", "SHELL": "/bin/sh"}
    lines = [f"export {name}={shlex.quote(str(value))}" for name, value in variables.items()]
    lines.append(f'export PATH={shlex.quote(str(Path(sys.executable).parent))}:"$PATH"')
    (folder / ACTIVATE).parent.mkdir(exist_ok=True)
    write_text_file(folder / ACTIVATE, "\n".join(lines) + "\n")
