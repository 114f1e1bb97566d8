"""Which code changed since a result was made, found without reading the same code again for every stage."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest

from latentwire import digests
from latentwire.result_code import FOLDER
from latentwire.verification import code_changes
from latentwire.verification.chain import links_from_source
from latentwire.verification.code_changes import CodeNow
from latentwire.verification.lockfile import LockedStage

ROOT = Path(__file__).parents[3]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The stages whose code was read; it is a line of text for each."""
    found: list[str] = []

    def text(stage: str, root: Path) -> bytes:
        found.append(stage)
        return b'{"%s": "1"}' % stage.encode()

    monkeypatch.setattr(code_changes, "result_code_text", text)
    return found


def locked(names: list[str], digest: str) -> dict[str, LockedStage]:
    deps = {name: f"{FOLDER}/{name.partition('@')[0]}.json" for name in names}
    return {name: LockedStage(name, {path: digest}, {}, {}) for name, path in deps.items()}


@pytest.mark.parametrize("changed", [False, True])
def test_many_predictions_read_the_code_of_a_stage_once(changed: bool, asked: list[str], tmp_path: Path) -> None:
    shutil.copytree(ROOT / "src/latentwire/stages", tmp_path / "src/latentwire/stages")
    shutil.copy(ROOT / "params.yaml", tmp_path)
    items = [f"wire-r8-{seed}" for seed in range(5)]
    names = [f"{kind}@{item}" for kind in ("train", "evaluate") for item in items]
    recorded: Mapping[str, object] = {"checkpoint": "0", "rows": 1, "sha256": "0"}
    code_now, lock = CodeNow(tmp_path), locked(names, "0" * 32)
    if not changed:
        for kind in ("train", "evaluate"):
            own = digests.md5_of_bytes(b'{"%s": "1"}' % kind.encode())
            lock |= locked([name for name in names if name.startswith(kind)], own)
    links = [
        link
        for item in items
        for link in links_from_source(
            tmp_path, f"results/evaluate/{item}/predictions.parquet", recorded, lock, code_now
        )
    ]
    said = "changed since: results/code/train.json, results/code/evaluate.json" if changed else "unchanged here"
    assert [link.value.partition(".json: ")[2] for link in links if link.what == "code"] == [said] * len(items)
    assert asked == ["train", "evaluate"]


def test_another_command_reads_it_again(asked: list[str], tmp_path: Path) -> None:
    shutil.copytree(ROOT / "src/latentwire/stages", tmp_path / "src/latentwire/stages")
    (stage,) = locked(["train@a"], "0" * 32).values()
    recorded = b'{"other": "1", "train": "0"}'
    for _ in range(2):
        assert CodeNow(tmp_path).find_changes(stage, lambda _: recorded) == ["other", "train"]
    assert asked == ["train", "train"]
