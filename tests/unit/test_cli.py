from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from latentwire import result_code
from latentwire.cli import run
from latentwire.errors import ConfigurationError
from latentwire.item import TrainItem, item_stage
from latentwire.params.load import load_params
from latentwire.status import read_item_status
from unbroken.run_folder.lock import FolderLock

ROOT = Path(__file__).parents[2]
ITEM = ("wire-r8-0", "0123456789ab")


def write(folder: Path, events: list[dict[str, object]], steps: int) -> None:
    from unbroken.run_folder.journal import encode_record

    folder.mkdir(parents=True)
    (folder / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    (folder / "journal.jsonl").write_bytes(b"".join(encode_record(step, {"loss": 1.0}) for step in range(1, steps + 1)))


def test_an_item_that_never_started(tmp_path: Path) -> None:
    assert read_item_status(tmp_path, *ITEM, 80).verdict == "not started"


def test_an_item_that_was_stopped_twice(tmp_path: Path) -> None:
    start = {"event": "start", "time": "2026-01-01T00:00:00+00:00", "step": 0}
    stop = {**start, "event": "end", "verdict": "preempted", "step": 20}
    saved = [{**start, "event": "checkpoint", "step": step} for step in (20, 40)]
    write(tmp_path / "wire-r8-0-0123456789ab", [start, saved[0], stop, {**start, "step": 20}, saved[1], stop], 40)
    now = read_item_status(tmp_path, *ITEM, 80)
    assert (now.step, now.durable, now.starts, now.verdict, now.seconds_left) == (40, 40, 2, "preempted", None)


def test_an_item_under_way_has_time_left(tmp_path: Path) -> None:
    start = {"event": "start", "time": "2026-01-01T00:00:00+00:00", "step": 0}
    write(tmp_path / "wire-r8-0-0123456789ab", [start], 20)
    assert read_item_status(tmp_path, *ITEM, 80).verdict == "killed"
    lock = FolderLock(tmp_path / "wire-r8-0-0123456789ab", timeout=0)
    now = read_item_status(tmp_path, *ITEM, 80)
    lock.release()
    assert now.verdict == "running"
    assert now.seconds_left is not None
    assert now.seconds_left > 0


def test_commands_print_and_exit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copy(ROOT / "params.yaml", tmp_path)
    with pytest.raises(SystemExit, match=r"^0$"):
        run(["status", "--root", str(tmp_path)])
    assert "not started" in capsys.readouterr().out
    with pytest.raises(SystemExit, match=r"^0$"):
        run(["params", "--path", str(tmp_path / "params.yaml")])
    assert "train.steps = 64" in capsys.readouterr().out
    (tmp_path / "empty").mkdir()
    with pytest.raises(SystemExit, match=r"^2$"):
        run(["status", "--root", str(tmp_path / "empty")])
    assert "error: No params.yaml in" in capsys.readouterr().err


def test_items_are_the_matrix() -> None:
    values = load_params(ROOT / "params.yaml")
    assert [item.name for item in TrainItem.all(values)][:2] == ["wire-rotten_tomatoes-0", "wire-rotten_tomatoes-1"]
    assert len(TrainItem.all(values)) == 10
    own, ablation = TrainItem.all(values)[0], TrainItem.all(values)[-1]
    assert ablation.name == "wire_1-r8-0"
    assert [own.stage("train"), ablation.stage("train")] == [
        "train@wire-rotten_tomatoes-0",
        "train_ablation@wire_1-r8-0",
    ]
    assert TrainItem.of(values, "wire_1", "r8", 0) == ablation
    assert item_stage(values, "evaluate", "wire_1-r8-0") == "evaluate_ablation@wire_1-r8-0"
    with pytest.raises(ConfigurationError, match=r"--seed '1' is not in params\.yaml; expected one of 0\."):
        TrainItem.of(values, "wire_1", "r8", 1)


def test_the_code_is_read_once_for_all_items(monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes a second, and a matrix may have hundreds of items."""
    read: list[object] = []
    monkeypatch.setattr(result_code, "code_digest", lambda *asked: read.append(asked) or {"a": "digest"})
    result_code._running_code.cache_clear()
    first = result_code.result_code("train")
    first["b"] = "of the caller"
    assert result_code.result_code("train") == {"a": "digest"}
    assert len(read) == 1
    result_code._running_code.cache_clear()


@pytest.mark.parametrize("wrong", [("--method", "wier"), ("--task", "nix"), ("--seed", "77")])
def test_an_item_that_does_not_exist_is_not_proved(
    wrong: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(ROOT / "params.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match=r"^2$"):
        run(["prove", *("--method", "wire"), *("--task", "r8"), *wrong])
    assert f"{wrong[0]} '{wrong[1]}'" in capsys.readouterr().err


@pytest.mark.parametrize("command", [["status"], ["verify"], ["trace", "x"], ["contract"], ["results"]])
def test_in_another_folder_than_the_root_a_command_says_so(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match=r"^2$"):
        run([*command, "--root", str(tmp_path)])
    assert "Next: run the command from the root of the repository." in capsys.readouterr().err
