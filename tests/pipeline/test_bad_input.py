"""Bad input: the exit code of invariant I7 and one sentence, and nothing that was written is lost."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support import workspace
from tests.support.stage_interruptions import finish, interrupt
from tests.support.workspace import TRAIN, Workspace

EVALUATE = ("evaluate", *TRAIN[1:])


def sentence(output: str) -> str:
    """The one line that explains the failure."""
    lines = [line for line in output.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, output
    assert "Traceback" not in output
    return lines[0]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"train__stepps": 3}, "unknown key `train.stepps` (did you mean `steps`?); expected one of "),
        ({"train__steps": "many"}, "`train.steps`: Input should be a valid integer"),
        ({"train__shards": 3}, "batch must be a multiple of shards, found 8 and 3"),
        ({"encode__sender": "nobody"}, "encode.sender names 'nobody', which is not among sender, llama, gemma"),
    ],
)
def test_wrong_parameters(changes: dict[str, Any], expected: str, fresh: Callable[..., Workspace]) -> None:
    said = sentence(fresh(**changes).stage(*TRAIN, code=2))
    assert expected in said
    assert "Next: " in said


def test_an_item_that_is_not_in_the_parameters(fresh: Callable[..., Workspace]) -> None:
    said = sentence(fresh().stage("train", "--method", "wier", "--task", "tiny", "--seed", "0", code=2))
    assert "--method 'wier'" in said
    assert "expected one of wire" in said


def test_missing_model_files(fresh: Callable[..., Workspace]) -> None:
    said = sentence(fresh(models__llama={"local": "nowhere"}).stage(*TRAIN, code=2))
    assert "nowhere" in said
    assert "Next: " in said


def test_changed_data(fresh: Callable[..., Workspace]) -> None:
    place = fresh(tasks__tiny__source__sha256="0" * 64)
    said = sentence(place.stage("prepare", code=2))
    assert "0" * 12 in said
    assert "tiny" in said


def test_changed_model(fresh: Callable[..., Workspace]) -> None:
    place = fresh()
    record = place.root / "results/prepare/models.json"
    values = json.loads(record.read_text())
    values["llama"]["digest"] = "0" * 64
    record.write_text(json.dumps(values))
    said = sentence(place.stage(*TRAIN, code=2))
    assert "Model llama has digest" in said
    assert "dvc repro" in said


def test_a_checkpoint_of_another_layout_is_refused(uninterrupted: Workspace, tmp_path: Path) -> None:
    place = workspace.copy(uninterrupted, tmp_path / "repo")
    place.set(tasks__tiny__primer="the")
    said = sentence(place.stage(*EVALUATE, code=2))
    assert "The prompt layout of receiver 'gemma'" in said
    assert "dvc repro" in said


def test_a_damaged_final_checkpoint_is_refused(uninterrupted: Workspace, tmp_path: Path) -> None:
    place = workspace.copy(uninterrupted, tmp_path / "repo")
    path = place.root / "results/train/wire-tiny-0/tensors.safetensors"
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    assert str(path.relative_to(place.root)) in sentence(place.stage(*EVALUATE, code=1))


def test_a_second_process_on_the_same_run(fresh: Callable[..., Workspace], uninterrupted: Workspace) -> None:
    place = fresh()
    first = place.start_stage(*TRAIN)
    place.wait_for_step(first, 1)
    first.send_signal(signal.SIGSTOP)
    try:
        said = sentence(place.stage(*TRAIN, code=1))
    finally:
        first.send_signal(signal.SIGCONT)
    assert str(first.pid) in said
    output, _ = first.communicate(timeout=120)
    assert first.returncode == 0, output
    assert place.results() == uninterrupted.results()


needs_mounts = pytest.mark.skipif(
    os.geteuid() != 0 or subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode != 0,
    reason="a small disk can only be mounted by root",
)


@needs_mounts
def test_a_full_disk(fresh: Callable[..., Workspace], uninterrupted: Workspace) -> None:
    place = fresh()
    interrupt(place, 6, signal.SIGTERM)
    kept = place.results(["state"])
    script = (
        "cp -a state kept && mount -t tmpfs -o size=700k tmpfs state && cp -a kept/. state/ && "
        "dd if=/dev/zero of=state/ballast bs=1k status=none; "
        '"$@"; code=$?; rm -f state/ballast; rm -rf kept; cp -a state kept; exit $code'
    )
    command = [sys.executable, "-m", "latentwire.stages.train", *TRAIN[1:]]
    said = sentence(place.run("unshare", "-m", "bash", "-c", script, "bash", *command, code=1))
    assert "ENOSPC" in said
    newest = [name for name in kept if "step-00000006" in name or "step-00000007" in name]
    assert newest
    shutil.rmtree(place.root / "state")
    (place.root / "kept").rename(place.root / "state")
    assert finish(place) >= 6
    assert place.results() == uninterrupted.results()


@needs_mounts
def test_a_read_only_disk(fresh: Callable[..., Workspace], uninterrupted: Workspace) -> None:
    place = fresh()
    interrupt(place, 6, signal.SIGTERM)
    before = place.results(["state"])
    script = 'mount --bind state state && mount -o remount,ro,bind state && "$@"'
    command = [sys.executable, "-m", "latentwire.stages.train", *TRAIN[1:]]
    said = sentence(place.run("unshare", "-m", "bash", "-c", script, "bash", *command, code=1))
    assert "EROFS" in said
    assert place.results(["state"]) == before
    assert finish(place) >= 6
    assert place.results() == uninterrupted.results()
