"""One module of `latentwire` knows the environment variables."""

from __future__ import annotations

import re
from pathlib import Path

import latentwire

ROOT = Path(latentwire.__file__).parent


def test_no_other_module_touches_the_environment() -> None:
    others = [path for path in ROOT.rglob("*.py") if path != ROOT / "environment.py"]
    touching = [path for path in others if re.search(r"os\.(environ|getenv|putenv)", path.read_text(encoding="utf-8"))]
    assert touching == []
