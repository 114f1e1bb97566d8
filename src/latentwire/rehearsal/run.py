"""`python -m latentwire.rehearsal.run PARAMS`: five train steps on tiny models, undisturbed and interrupted.

Runs the real stages in a folder of its own, needs no network, no data and no GPU, and takes about a minute. Exit code 0
where both runs end in the same bytes, 3 where they do not, 1 where a stage failed.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from latentwire.digests import sha256_of
from latentwire.environment import rehearsal_environment
from latentwire.errors import LatentWireError
from latentwire.exits import run_program
from latentwire.rehearsal.tiny import NO_ABLATIONS, tiny_causal_model, tiny_encoder_model, tiny_task
from latentwire.yaml_files import read_yaml
from unbroken.environment import has_avx2

ITEM = ("--method", "wire", "--task", "tiny", "--seed", "0")
ITEM_NAME = "wire-tiny-0"
STEPS = 5
INTERRUPTION = "TERM@3"


class DifferenceError(LatentWireError):
    """The interrupted run ended with other bytes; exits with 3."""

    exit_code = 3


def main(argv: Sequence[str] | None = None) -> None:
    """Rehearse with the parameters of a file, of which models, task and sizes become tiny."""
    parser = argparse.ArgumentParser(prog="python -m latentwire.rehearsal.run", description=__doc__)
    parser.add_argument("params", type=Path, help="a params.yaml")
    values = read_yaml(parser.parse_args(argv).params)
    with tempfile.TemporaryDirectory(prefix="latentwire-rehearsal-") as name:
        folder = Path(name)
        (folder / "params.yaml").write_text(json.dumps(tiny_params(values, folder / "inputs")), encoding="utf-8")
        rehearse_stages(folder)
    print(f"rehearsal: {STEPS} steps, stopped with {INTERRUPTION} and resumed: every byte as in the undisturbed run")


def rehearse_stages(folder: Path) -> None:
    """Run the stages up to the two trainings and compare what they wrote.

    Raises:
        LatentWireError: A stage ended with another exit code than it should, or bytes differ.
    """
    run_stage_process(folder, "prepare")
    run_stage_process(folder, "encode", "--task", "tiny")
    places = {name: ("--state", f"{name}/state", "--results", f"{name}/results") for name in ("whole", "stopped")}
    run_stage_process(folder, "train", *ITEM, *places["whole"])
    run_stage_process(folder, "train", *ITEM, *places["stopped"], expected=75, interrupt=INTERRUPTION)
    run_stage_process(folder, "train", *ITEM, *places["stopped"])
    whole, stopped = (digest_files(folder / name / "results" / ITEM_NAME) for name in places)
    if whole != stopped:
        differ = [name for name in sorted(whole.keys() | stopped) if whole.get(name) != stopped.get(name)]
        raise DifferenceError(
            "The training that was stopped at step 3 and resumed differs from the undisturbed one in "
            f"{', '.join(differ)}. "
            "Next: `latentwire prove` on a real item, which says the first step and tensor that differ."
        )


def run_stage_process(
    folder: Path, stage: str, *arguments: str, expected: int = 0, interrupt: str | None = None
) -> None:
    """Run a stage in `folder`.

    Raises:
        LatentWireError: It ended with another exit code than expected; the message has what it printed.
    """
    print(f"rehearsal: {stage}{f', sent {interrupt}' if interrupt else ''}", flush=True)
    done = subprocess.run(
        [sys.executable, "-m", f"latentwire.stages.{stage}", *arguments],
        cwd=folder,
        env=rehearsal_environment(folder, interrupt),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    if done.returncode != expected:
        raise LatentWireError(
            f"The stage {stage} ended with {done.returncode}, expected {expected}. It printed:\n{done.stdout}"
            "Next: `latentwire doctor`."
        )


def digest_files(folder: Path) -> Mapping[str, str]:
    """SHA-256 of every file of a folder."""
    return {str(path.relative_to(folder)): sha256_of(path) for path in folder.rglob("*") if path.is_file()}


def tiny_params(values: Mapping[str, Any], inputs: Path) -> Mapping[str, Any]:
    """The parameters with tiny models and a tiny task, which this writes to `inputs`."""
    sizes = {"slots": 2, "width": 8, "depth": 1, "heads": 2, "hidden": 8, "receivers": ["llama"]}
    kernels = "portable" if has_avx2() else "native"
    items = {"methods": ["wire"], "seeds": [0], "ablations": NO_ABLATIONS}
    train = {**items, "steps": STEPS, "batch": 8, "warmup": 1}
    return {
        **values,
        "models": {"sender": tiny_encoder_model(inputs / "sender"), "llama": tiny_causal_model(inputs / "llama")},
        "tasks": {"tiny": tiny_task(inputs / "task", texts=80)},
        "methods": {"wire": {**next(iter(values["methods"].values())), **sizes}},
        "runtime": {"device": "cpu", "threads": 1, "dtype": "float32", "numerics": kernels},
        "prepare": {
            "tasks": ["tiny"],
            "fractions": {"validation": 0.1, "test": 0.2},
            "limits": {"train": 40, "validation": 8, "test": 8},
        },
        "encode": {**values["encode"], "sender": "sender", "max_tokens": 16},
        "train": {
            **values["train"],
            **train,
            "validate": {"every": 2, "examples": 8},
            "checkpoint": {"every": 2, "keep": 3},
        },
        "aggregate": {**values["aggregate"], "metrics": {}},  # of the tasks that are not here
    }


if __name__ == "__main__":
    sys.exit(run_program(main))
