"""A few faults of each kind in every run of the suite; every operation, and an outside judge, in the slow one."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
import toy

from tests.chaos.campaign import campaign, table, trial
from tests.chaos.faults import KINDS, operations
from tests.chaos.world import Disk, World
from unbroken import tensorfile

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    root = tmp_path_factory.mktemp("reference")
    toy.train(root / "run", root / "export")
    return toy.contents(root / "export")


def test_every_kind_of_fault_once(tmp_path: Path) -> None:
    results = campaign(len(KINDS), 0, tmp_path, list(KINDS), lambda index, result: None)
    assert [result for result in results if result.outcome != "recovered"] == []
    assert table(results, 0).splitlines()[-2].split() == ["all", *[str(len(KINDS))] * 2, "0", "0", "0", "0"]


def test_negative_control_a_store_that_does_not_check_is_caught(
    tmp_path: Path, expected: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the check of the digests damage goes through: the campaign must say so."""

    monkeypatch.setattr(tensorfile, "_check", lambda *arguments: None)
    monkeypatch.setitem(KINDS, "bit flip", flipped_in_the_middle)
    result = trial("bit flip", "0", tmp_path / "trial", expected)
    assert result.outcome == "used damaged data"


def flipped_in_the_middle(world: World) -> set[int]:
    """A flip in a weight, which looks like any other number."""
    world.stopped()
    path = world.checkpoints[-1] / "tensors.safetensors"
    data = bytearray(path.read_bytes())
    begin = 8 + int.from_bytes(data[:8], "little")
    data[begin + json.loads(data[8:begin])["model/0.weight"]["data_offsets"][0]] ^= 1
    path.write_bytes(data)
    return {int(path.parent.name[5:])}


@pytest.mark.slow
@pytest.mark.parametrize("resumed", [False, True], ids=["save", "resume"])
@pytest.mark.parametrize("fault", ["kill-before", "kill-after", "ENOSPC", "EIO"])
def test_every_operation(fault: str, resumed: bool, tmp_path: Path, expected: dict[str, bytes]) -> None:
    """Each file operation of a whole run and of a resume in turn: recovered from, in the right bytes."""
    chance = random.Random(0)
    counted = operations(World(tmp_path / "count", chance), resumed, every=20)
    for operation, count in sorted(counted.items()):
        for occurrence in range(1, count + 1):
            world = World(tmp_path / f"{operation}-{occurrence}", chance)
            if resumed:
                world.stopped(at=38)
            world.start(files=Disk(operation, occurrence, fault), every=20, background=False)
            where = f"{fault} at {operation} {occurrence}"
            assert world.start(files=Disk()) == 0, f"{where}: {world.log.read_text()[-500:]}"
            assert toy.contents(world.target) == expected, where


@pytest.mark.slow
def test_an_outside_judge_finds_every_boundary_clean(tmp_path: Path) -> None:
    """`ckpt-chaos` kills an unmodified program at its file events and judges the resume."""
    judge = Path(sys.executable).with_name("ckpt-chaos")
    if not judge.exists():
        pytest.skip("ckpt-chaos is not installed; `make setup` installs it")
    command = [
        *(str(judge), "run", "--work", str(tmp_path), "--max-points", "12", "--modes", "before,torn,term"),
        *("--checkpoint-glob", "{out}/run/checkpoints/step-*", "--step-regex", r"Going on from step (\d+)"),
        *("--ckpt-ignore-size", "--result-file", "{out}/export/tensors.safetensors"),
        *("--fail-on", "HARD_FAIL,SILENT_DIVERGENCE,LOST_WORK,CONTROL_FAIL"),
        *("--", sys.executable, toy.__file__, "{out}/run", "{out}/export"),
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
    judged = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert judged.returncode == 0, judged.stdout + judged.stderr
