"""Which code defines the results of a stage; all other code only carries them (docs/architecture.md).

Survival leaves no trace in the bytes of a result, so it is not in its name either: `unbroken.exact` and the science
count, and how a checkpoint is written, a process started or a run logged does not.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from latentwire.errors import ConfigurationError
from latentwire.yaml_files import read_yaml
from unbroken.run_folder.code_digest import code_digest

STAGES = ("prepare", "encode", "baseline", "train", "evaluate", "aggregate", "report")
"""Those that have results."""
KEPT = ("aggregate", "report")
"""Those that are ours in every experiment."""

ROOMS = (
    "latentwire.tasks",
    "latentwire.models",
    "latentwire.training",
    "latentwire.evaluation",
    "latentwire.statistics",
    "latentwire.reporting",
    "unbroken.exact",
)
"""They define results, in whatever stage."""

FOLDER = Path("results/code")
_ABLATION = "_ablation"
"""Behind `train` and `evaluate` in the names of the stages of `train.ablations`, which have a matrix of their own."""


def dvc_stage_name(kind: str, item: str, ablation: bool) -> str:
    """The name in dvc.yaml of the stage `train` or `evaluate` of an item."""
    return f"{kind}{_ABLATION if ablation else ''}@{item}"


def stage_kind(stage: str) -> str:
    """Which of STAGES a stage of dvc.yaml is, `train` of `train_ablation@ITEM`: it has its program and its code."""
    return stage.partition("@")[0].removesuffix(_ABLATION)


def result_code(stage: str, root: Path | None = None) -> dict[str, str]:
    """Module → digest of what it does, for all code that defines the results of a stage (invariant I1).

    Args:
        stage: One of those of `result_stages`.
        root: The repository whose code is meant; None for the code that runs.
    """
    if root is None:
        return running_code(stage, Path())
    return _read_code(stage, stage_program(stage, root), [str(root / "src")])


def running_code(stage: str, root: Path) -> dict[str, str]:
    """As `result_code` of the code that runs, for the program that the parameters at `root` name."""
    return dict(_running_code(stage, stage_program(stage, root)))


def result_stages(root: Path = Path()) -> list[str]:
    """The stages that have results: STAGES, or those that an experiment of its own has of them."""
    own = _own_programs(root)
    return [stage for stage in STAGES if not own or stage in (*own, *KEPT)]


def stage_program(stage: str, root: Path = Path()) -> str:
    """The module that runs a stage of the repository at `root`: that of `stages` in its params.yaml, or ours."""
    return _own_programs(root).get(stage, f"latentwire.stages.{stage}")


def _own_programs(root: Path) -> dict[str, str]:
    path = root / "params.yaml"
    values = read_yaml(path) if path.is_file() else None
    own = values.get("stages") if isinstance(values, dict) else None
    return {str(stage): str(program) for stage, program in own.items()} if isinstance(own, dict) else {}


@cache
def _running_code(stage: str, program: str) -> dict[str, str]:
    """Read once by a process: it takes a second, and every item of the matrix asks."""
    return _read_code(stage, program, None)


def _read_code(stage: str, program: str, path: Sequence[str] | None) -> dict[str, str]:
    beside = program.rpartition(".")[0] if program != f"latentwire.stages.{stage}" else f"latentwire.pipeline.{stage}"
    return code_digest([program], (*ROOMS, program, *filter(None, [beside])), path)


def check_recorded_code(stage: str, root: Path = Path()) -> None:
    """Check that what DVC would record as the code of a stage is the code that runs.

    It is not where only this stage was asked for after an edit: its result would be kept under the wrong code.

    Raises:
        ConfigurationError: `results/code/STAGE.json` is there and of other code.
    """
    recorded = root / FOLDER / f"{stage}.json"
    if not recorded.is_file() or recorded.read_bytes() == result_code_text(stage):
        return
    raise ConfigurationError(
        f"{recorded} is not of the code that runs here, expected the digests that the stage `code` makes of it. "
        f"Nothing was changed. Next: `dvc repro code`, then this stage again."
    )


def result_code_text(stage: str, root: Path | None = None) -> bytes:
    """What stands in `results/code/STAGE.json`, on which every stage depends."""
    return (json.dumps(result_code(stage, root), indent=1) + "\n").encode()
