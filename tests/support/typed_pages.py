"""Pages whose commands a test types: in order, in one shell, in a fresh clone."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
_MARK = "----- end of a block -----"
_FOREIGN = ("MLFLOW_", "UNBROKEN_", "GIT_", "LATENTWIRE_", "SLURM_")
"""Begin the names of variables that the shell of a newcomer does not have."""


def read_commands(page: str) -> list[str]:
    """The blocks of a page that are meant to be typed."""
    return re.findall(r"^```bash\n(.*?)^```$", page, re.M | re.S)


def clone_with_environment(clone: Path) -> None:
    """What a newcomer has after `make setup`, with the environment of these tests."""
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
    (clone / ".venv").symlink_to(Path(sys.executable).parents[1])


def type_commands(blocks: Sequence[str], clone: Path, **variables: str) -> list[str]:
    """Type blocks in one shell, which ends at the first command that fails; what each of them printed."""
    program = "".join(f"{block}echo '{_MARK}'\n" for block in blocks)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", program],
        cwd=clone,
        env={**kept, "COLUMNS": "200", **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=3000,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-8000:]
    return done.stdout.split(_MARK)
