"""The live view: stored runs, torn lines, a run that is being written, GPUs, no terminal."""

from __future__ import annotations

import io
import json
import math
import re
import shutil
import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from latentwire import identities, status, watch
from latentwire.cli import run
from latentwire.errors import ConfigurationError
from latentwire.item import TrainItem
from latentwire.nvml import Gpu, Gpus
from latentwire.params.load import load_params
from latentwire.status import ItemStatus, read_item_status
from latentwire.watch import draw_sparkline, render_frame, render_lines
from unbroken.run_folder.events import uptime
from unbroken.run_folder.journal import encode_record
from unbroken.run_folder.lock import FolderLock

ROOT = Path(__file__).parents[2]
STEPS = 40
SHORT = "0123456789ab"
CARD = Gpu("NVIDIA X", 93, 4 * 2**30, 8 * 2**30)


def at(seconds_ago: float, event: str, **facts: object) -> dict[str, object]:
    return {"time": (datetime.now(UTC) - timedelta(seconds=seconds_ago)).isoformat(), "event": event, **facts}


def store(state: Path, events: list[dict[str, object]], steps: int, tail: bytes = b"", item: str = "wire-r8-0") -> Path:
    """A run folder with so many journalled steps; the loss falls from 2."""
    folder = state / f"{item}-{SHORT}"
    folder.mkdir(parents=True)
    (folder / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    losses = [{"train/loss": 2 / step, "validation/accuracy": 0.5 if step % 10 == 0 else None} for step in range(1, 99)]
    written = b"".join(encode_record(step, losses[step - 1]) for step in range(1, steps + 1))
    (folder / "journal.jsonl").write_bytes(written + tail)
    return folder


@pytest.fixture
def look(tmp_path: Path) -> Callable[[], dict[str, ItemStatus]]:
    return lambda: {SHORT: read_item_status(tmp_path, "wire-r8-0", SHORT, STEPS)}


Look = Callable[[], dict[str, ItemStatus]]


def life() -> list[dict[str, object]]:
    """Preempted once, killed once, and started again."""
    return [
        at(9000, "start", step=0),
        at(8000, "checkpoint", step=5),
        at(7000, "end", verdict="preempted", step=5),
        at(6000, "start", step=5),
        at(5000, "start", step=5),
        at(600, "checkpoint", step=20),
    ]


def shown(found: dict[str, ItemStatus], cards: Sequence[Gpu] = ()) -> str:
    console = Console(file=io.StringIO(), width=220)
    console.print(render_frame(found, STEPS, cards))
    return console.file.getvalue()  # type: ignore[attr-defined,no-any-return]


def test_a_run_under_way(tmp_path: Path, look: Look) -> None:
    lock = FolderLock(store(tmp_path, life(), 20), 0)
    text = shown(look(), [CARD])
    lock.release()
    for expected in (
        "running",
        "20/40",
        "0.1",
        "█▄▃",
        "checkpoint 20, 0:1",
        "starts 3 (1 preempted, 1 killed)",
        "0.00",
        "1:5",
    ):
        assert expected in text
    assert "GPU 0 NVIDIA X: 93 % busy, 4.00 GiB of 8.00 GiB" in text


def test_the_lock_tells_running_from_killed(tmp_path: Path, look: Look) -> None:
    folder = store(tmp_path, life(), 20)
    assert look()[SHORT].verdict == "killed"
    lock = FolderLock(folder, 0)
    assert (look()[SHORT].verdict, look()[SHORT].killed) == ("running", 1)
    lock.release()
    now = look()[SHORT]
    assert (now.verdict, now.killed, now.seconds_left, now.pace) == ("killed", 2, None, None)
    (folder / "lock").write_text(json.dumps({"pid": 1, "host": "node7"}))
    now = look()[SHORT]
    assert now.verdict == "running on node7, or killed"
    assert now.under_way


def test_looking_takes_no_lock(tmp_path: Path, look: Look) -> None:
    folder = store(tmp_path, life(), 20)
    look()
    FolderLock(folder, 0).release()
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    shown(look())
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before


def test_a_fetched_checkpoint_is_durable(tmp_path: Path, look: Look) -> None:
    """The record of a run that was parked while it trained may lack the line of its newest checkpoint."""
    folder = store(tmp_path, life(), 20)
    (folder / "checkpoints/step-00000020-old").mkdir(parents=True)
    assert look()[SHORT].durable == 20
    (folder / "checkpoints/step-00000025").mkdir()
    assert look()[SHORT].durable == 25


def test_a_torn_line_is_left_out_and_a_damaged_one_is_said(tmp_path: Path, look: Look) -> None:
    folder = store(tmp_path, life(), 20, tail=encode_record(21, {"train/loss": 1.0})[:20])
    assert look()[SHORT].step == 20
    data = (folder / "journal.jsonl").read_bytes()
    (folder / "journal.jsonl").write_bytes(data.replace(b"train/loss", b"train/lost", 1))
    now = look()[SHORT]
    assert now.problem.startswith("Line 1 of ")
    assert "Line 1 of" in shown(look())
    (folder / "journal.jsonl").unlink()
    assert (look()[SHORT].step, look()[SHORT].problem) == (0, "")


def test_a_stop_that_took_too_long_is_a_preemption(tmp_path: Path, look: Look) -> None:
    events = [at(900, "start", step=0), at(300, "forced-exit", deadline=30, step=5)]
    store(tmp_path, events, 7)
    now = look()[SHORT]
    assert (now.verdict, now.preempted, now.killed) == ("preempted", 1, 0)


def test_between_the_end_of_a_start_and_the_next_one_nothing_more_was_killed(tmp_path: Path, look: Look) -> None:
    """A process has the lock and has not said yet that it started, or has said that it ended."""
    events = [at(900, "start", step=0), at(600, "start", step=0), at(300, "end", verdict="preempted", step=5)]
    lock = FolderLock(store(tmp_path, events, 5), 0)
    now = look()[SHORT]
    lock.release()
    assert (now.verdict, now.preempted, now.killed) == ("running", 1, 1)


def test_a_run_folder_that_cannot_be_read_is_said_and_hides_no_other(tmp_path: Path, look: Look) -> None:
    store(tmp_path, life(), 20, item="wire-r8-1")
    (tmp_path / f"wire-r8-0-{SHORT}" / "events.jsonl").mkdir(parents=True)
    now = look()[SHORT]
    assert (now.verdict, now.under_way, now.step) == ("unknown", False, 0)
    assert now.problem.startswith("The run folder cannot be read: ")
    assert f"Next: `ls -l {tmp_path}/wire-r8-0-{SHORT}`" in now.problem
    both = {"a": now, "b": read_item_status(tmp_path, "wire-r8-1", SHORT, STEPS)}
    text = shown(both)
    assert "cannot be read" in text
    assert "20/40" in text


def test_a_run_that_is_being_written(tmp_path: Path, look: Look) -> None:
    """Every look sees whole steps, never fewer than before."""
    folder = store(tmp_path, life(), 0)
    over = threading.Event()

    def write() -> None:
        with (folder / "journal.jsonl").open("ab", buffering=0) as file:
            for step in range(1, STEPS + 1):
                text = encode_record(step, {"train/loss": 1 / step})
                file.write(text[:9])
                time.sleep(0.001)
                file.write(text[9:])
        over.set()

    writer = threading.Thread(target=write)
    writer.start()
    seen = [0]
    while not over.is_set():
        assert look()[SHORT].problem == ""
        seen.append(look()[SHORT].step)
        shown(look())
    writer.join()
    assert seen == sorted(seen)
    assert look()[SHORT].step == STEPS


def test_the_newest_accuracy_of_every_receiver(tmp_path: Path, look: Look) -> None:
    folder = store(tmp_path, life(), 0)
    values = [{"validation/accuracy/gemma3": 0.25 * step, "validation/accuracy/smollm2": None} for step in (1, 2)]
    values[0]["validation/accuracy/smollm2"] = 0.125
    lines = [encode_record(step, {"train/loss": 1.0, **value}) for step, value in enumerate(values, start=1)]
    (folder / "journal.jsonl").write_bytes(b"".join(lines))
    lock = FolderLock(folder, 0)
    told = [shown(look()), *render_lines(look(), STEPS, ())]
    lock.release()
    for text in told:
        assert "validation/accuracy/gemma3 0.5" in text
        assert "validation/accuracy/smollm2 0.125" in text


def test_lines_for_a_log_file(tmp_path: Path, look: Look) -> None:
    lock = FolderLock(store(tmp_path, life(), 20), 0)
    (text,) = render_lines(look(), STEPS, ())
    lock.release()
    assert re.fullmatch(
        r"wire-r8-0: running, 20/40, train/loss 0\.1, validation/accuracy 0\.5, 0\.00\d+ steps/s, 1:5\d:\d\d left, "
        r"checkpoint 20, 0:1\d:\d\d ago, starts 3 \(1 preempted, 1 killed\); no GPU",
        text,
    )
    assert render_lines(look(), STEPS, ()) == ["nothing is under way: 1 killed"]


def test_it_waits_and_ends_when_all_is_finished(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done = ItemStatus("wire-r8-0", 40, 40, 1, "finished", None)
    turns: list[object] = [ConfigurationError("Nothing is prepared. Next: `dvc repro prepare`."), done]

    def look() -> dict[str, ItemStatus]:
        turn = turns.pop(0)
        if isinstance(turn, Exception):
            raise turn
        return {SHORT: turn}  # type: ignore[dict-item]

    console = Console(file=io.StringIO(), width=100)
    watch._lines(look, STEPS, 0.01, console)
    said = console.file.getvalue()  # type: ignore[attr-defined]
    assert said == "Waiting. Nothing is prepared. Next: `dvc repro prepare`.\nnothing is under way: 1 finished\n"


def test_live_on_a_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(ROOT / "params.yaml", tmp_path)
    frames = iter([ItemStatus("wire-r8-0", step, step, 1, "running", 1.0) for step in (5, 6)])
    last = ItemStatus("wire-r8-0", 64, 64, 1, "finished", None)
    monkeypatch.setattr(status, "find_identities", lambda *_: ({"wire-r8-0": SHORT}, ""))
    monkeypatch.setattr(status, "read_item_status", lambda *_: next(frames, last))
    console = Console(file=io.StringIO(), width=200, force_terminal=True)
    assert watch.watch_items(tmp_path, "wire-r8-0", False, 0.01, console) == 0
    said = console.file.getvalue()  # type: ignore[attr-defined]
    assert all(expected in said for expected in ("5/64", "6/64", "64/64", "finished"))


@pytest.mark.parametrize("running", [1, 8, 20])
@pytest.mark.parametrize("width", [60, 80])
def test_what_is_under_way_is_seen_on_a_terminal_of_any_height(
    width: int, running: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a frame that is too long, rich shows the beginning: the items that are finished."""
    verdicts = ["finished"] * 30 + ["running"] * running
    matrix = {str(n): ItemStatus(f"wire-r8-{n}", 20, 20, 1, verdict, 9.0) for n, verdict in enumerate(verdicts)}
    console = Console(file=io.StringIO(), width=width, height=24, force_terminal=True, color_system=None)
    looks = iter([matrix, {short: replace(now, verdict="finished") for short, now in matrix.items()}])
    monkeypatch.setattr(watch, "read_gpus", lambda: Gpus(None, ()))
    watch._live(lambda: next(looks), STEPS, 0.01, console)
    first, *_, last = console.file.getvalue().split("no GPU")[:-1]  # type: ignore[attr-defined]
    assert "30 finished" in first
    assert all(f"wire-r8-{n} " in first for n, verdict in enumerate(verdicts) if verdict == "running")
    assert all(f"wire-r8-{n} " in last for n in range(len(verdicts))), "in the end all of it is there"


def test_an_interrupt_ends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(ROOT / "params.yaml", tmp_path)

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(status, "find_identities", interrupted)
    assert watch.watch_items(tmp_path, None, False, 0.01, Console(file=io.StringIO())) == 0
    assert capsys.readouterr().err == "The training is not affected.\n"


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(ROOT / "params.yaml", tmp_path)
    with pytest.raises(SystemExit, match=r"^2$"):
        run(["watch", "nosuch", "--once", "--root", str(tmp_path)])
    assert "ITEM 'nosuch' is not in params.yaml" in capsys.readouterr().err
    monkeypatch.setattr(
        identities, "identity_of", lambda values, item, root: SimpleNamespace(short=f"{item.seed:012d}")
    )
    with pytest.raises(SystemExit, match=r"^0$"):
        run(["watch", "wire-r8-1", "--once", "--root", str(tmp_path)])
    said = capsys.readouterr().out
    assert "wire-r8-1" in said
    assert "wire-r8-0" not in said
    assert "no GPU" in said


@pytest.mark.parametrize("item", [None, "wire-r8-1"])
def test_in_a_fresh_clone_one_frame_says_what_status_does(
    item: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(ROOT / "params.yaml", tmp_path)
    with pytest.raises(SystemExit, match=r"^0$"):
        run(["watch", *([item] if item else []), "--once", "--root", str(tmp_path)])
    names = [item] if item else [known.name for known in TrainItem.all(load_params(ROOT / "params.yaml"))]
    *lines, _, why = capsys.readouterr().out.splitlines()
    assert [line.split()[:3] for line in lines] == [[name, "not", "started"] for name in names]
    assert why.startswith(status.UNKNOWN)
    assert why.endswith("Next: `dvc repro prepare`.")


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], ""),
        ([3.0], "▁"),
        ([1.0, 1.0], "▁▁"),
        ([8.0, 1.0], "█▁"),
        ([0.0, math.nan, 7.0], "▁×█"),
        ([math.inf], "×"),
        ([float(i) for i in range(80)], "▁▂▃▄▅▆▇█"),
    ],
)
def test_sparkline(values: list[float], expected: str) -> None:
    assert draw_sparkline(values, width=8) == expected


def test_a_clock_that_was_set_back_gives_no_negative_ages(tmp_path: Path, look: Look) -> None:
    events = [at(-7200, "start", step=0), at(-3600, "checkpoint", step=20)]
    lock = FolderLock(store(tmp_path, events, 20), 0)
    now = look()[SHORT]
    assert (now.pace, now.seconds_left) == (None, None)
    text = shown(look())
    lock.release()
    assert "-1 day" not in text
    assert re.search(r"checkpoint 20, at [-\d]+ [:\d]+ UTC by a clock that was ahead", text)


def test_the_pace_is_by_a_clock_that_nobody_sets(tmp_path: Path, look: Look) -> None:
    begun = {"host": socket.gethostname(), "uptime": uptime() - 10}
    lock = FolderLock(store(tmp_path, [at(-7200, "start", step=0, **begun)], 20), 0)
    now = look()[SHORT]
    lock.release()
    assert now.pace == pytest.approx(2, rel=0.2)
    assert now.seconds_left == pytest.approx(10, rel=0.2)
