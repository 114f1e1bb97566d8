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
from unbroken.run_folder.code_digest import code_digest

STAGES = ("prepare", "encode", "baseline", "train", "evaluate", "aggregate", "report")
"""Those that have results."""

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


def result_code(stage: str, root: Path | None = None) -> dict[str, str]:
    """Module → digest of what it does, for all code that defines the results of a stage (invariant I1).

    Args:
        stage: One of STAGES.
        root: The repository whose code is meant; None for the code that runs.
    """
    return dict(_running_code(stage)) if root is None else _read_code(stage, [str(root / "src")])


@cache
def _running_code(stage: str) -> dict[str, str]:
    """Read once by a process: it takes a second, and every item of the matrix asks."""
    return _read_code(stage, None)


def _read_code(stage: str, path: Sequence[str] | None) -> dict[str, str]:
    own = (f"latentwire.stages.{stage}", f"latentwire.pipeline.{stage}")
    return code_digest(own[:1], (*ROOMS, *own), path)


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
