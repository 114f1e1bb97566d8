"""docs/tutorial.md: every block that is meant to be typed, in order, in one shell, from a fresh clone."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.typed_pages import clone_with_environment, read_commands, type_commands

ROOT = Path(__file__).parents[2]
BLOCKS = read_commands((ROOT / "docs/tutorial.md").read_text(encoding="utf-8"))


@pytest.mark.long
def test_a_newcomer_types_the_tutorial(tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    clone_with_environment(clone)
    first, _, changed, killed, resumed, proof, traced, verified, _ = type_commands(
        BLOCKS, clone, PYTHONPATH=str(clone / "src")
    )
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
