"""docs/tutorial.md: every block that is meant to be typed, in order, in one shell, from a fresh clone."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MARK = "----- end of a block -----"
BLOCK = re.compile(r"^```bash\n(.*?)^```$", re.M | re.S)


def blocks() -> list[str]:
    return BLOCK.findall((ROOT / "docs/tutorial.md").read_text(encoding="utf-8"))


@pytest.mark.long
def test_a_newcomer_types_the_tutorial(tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
    (clone / ".venv").symlink_to(Path(sys.executable).parents[1])
    program = "".join(f"{block}echo '{MARK}'\n" for block in blocks())
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW_", "UNBROKEN_", "GIT_", "LATENTWIRE_"))}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", program],
        cwd=clone,
        env={**kept, "PYTHONPATH": str(clone / "src"), "COLUMNS": "200"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=3000,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-8000:]
    first, _, changed, killed, resumed, proof, traced, verified, _ = done.stdout.split(MARK)
    assert re.search(r"llama +│ Wire", first)
    assert re.search(r"train\.lr +0\.01 +0\.03", changed)
    assert "Up to 4 stages will run, in about" in changed
    assert re.search(r"wire-tiny-0\.json +train/loss", changed)
    assert "Stage 'train@wire-tiny-0' didn't change" in killed
    assert re.search(r"wire-tiny-1 .* killed", killed)
    assert [ended for ended in ("killed", "finished") if ended in resumed] == ["killed", "finished"]
    assert "identical" in proof
    assert "tiny/llama/wire/accuracy" in traced
    assert "0 contradicted" in verified
    assert list((tmp_path / "first-hour/reports/tables").glob("*.tex"))
