"""Which code defines the results of a stage; all other code only carries them (docs/architecture.md).

Survival leaves no trace in the bytes of a result, so it is not in its name either: `unbroken.exact` and the science
count, and how a checkpoint is written, a process started or a run logged does not.
"""

from __future__ import annotations

import json
from pathlib import Path

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
    own = (f"latentwire.stages.{stage}", f"latentwire.pipeline.{stage}")
    return code_digest(own[:1], (*ROOMS, *own), None if root is None else [str(root / "src")])


def result_code_text(stage: str, root: Path | None = None) -> bytes:
    """What stands in `results/code/STAGE.json`, on which every stage depends."""
    return (json.dumps(result_code(stage, root), indent=1) + "\n").encode()
