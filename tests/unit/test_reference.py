"""docs/reference.md says what the code is."""

from __future__ import annotations

import re
from pathlib import Path

from tools.reference import write_reference

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/reference.md").read_text(encoding="utf-8")


def test_the_page_is_what_the_code_says() -> None:
    assert write_reference(ROOT) == PAGE, "Next: make reference"


def test_no_variable_of_ours_is_left_out() -> None:
    files = [*ROOT.glob("src/*/environment.py"), ROOT / "slurm/site.env.example"]
    named = {name for file in files for name in re.findall(r"(?:UNBROKEN|LATENTWIRE)_[A-Z_]+", file.read_text())}
    assert len(named) > 15
    assert not {name for name in named if f"| `{name}` |" not in PAGE}


def test_every_key_of_params_is_there() -> None:
    keys = re.findall(r"(\w+):", (ROOT / "params.yaml").read_text().partition("methods:  #")[2].partition("report:")[0])
    named = set(re.findall(r"`(\w+)`", PAGE)) | set(re.findall(r"[\w.]+", PAGE.replace(".", " ")))
    assert not [key for key in keys if key not in named and key not in ("wire", "wire_1", "r8")]
