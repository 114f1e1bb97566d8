"""What the page shows is what journals, events and readings hold, and what other commands say of them."""

from __future__ import annotations

import io
import json
import math
import re
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import plotly.graph_objects
import pytest
from rich.console import Console

from latentwire import identities
from latentwire.cli import run
from latentwire.dashboard import charts
from latentwire.dashboard.charts import COLOURS, DASHES, FEWEST
from latentwire.errors import ConfigurationError
from latentwire.item import TrainItem
from latentwire.params.load import AnyParams, load_params
from latentwire.status import read_item_status, status_reader, status_table
from latentwire.watch import describe_checkpoint, describe_starts, render_frame
from tests.support.dashboard_pages import CARD, SHORT, Show, reading_at, short_of
from tests.support.toy_items import ITEM, STEPS, at, attempt, loss_at, store
from unbroken.run_folder.journal import encode_record, read_journal
from unbroken.run_folder.lock import FolderLock

LOSS = f"{ITEM}/train/loss"


@pytest.fixture
def folder(root: Path) -> Path:
    """The run folder of the item."""
    return root / "state" / f"{ITEM}-{SHORT}"


def history(root: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    with pytest.raises(SystemExit, match=r"^0$"):
        run(["history", ITEM, "--json", "--root", str(root)])
    return json.loads(capsys.readouterr().out)


def test_a_run_that_was_killed_and_preempted(
    root: Path, folder: Path, show: Show, capsys: pytest.CaptureFixture[str]
) -> None:
    """The real Run in processes of its own; journal, events, `history`, `status` and the page say the same."""
    assert attempt(folder, 25, signal.SIGKILL) == -signal.SIGKILL
    assert attempt(folder, 33, signal.SIGTERM, SLURM_JOB_ID="122") == 75
    page, now = show(), read_item_status(root / "state", ITEM, SHORT, STEPS)
    told = page.item(ITEM)
    assert (told["verdict"], told["step"], told["durable"]) == (now.verdict, 33, 33) == ("preempted", 33, 33)
    assert (told["starts"], told["preempted"], told["killed"]) == (2, 1, 1)
    assert told["history"] == history(root, capsys)
    assert page.curve(LOSS) == {step: loss_at(step) for step in range(1, 34)}
    assert page.curve(f"{ITEM}/validation/accuracy") == {16: 0.25, 32: 0.5}
    assert page.marks(LOSS) == {20: page.marks(LOSS)[20]}
    assert "the one before: killed, 4 steps lost" in page.marks(LOSS)[20]
    assert page.facts["refresh_s"] >= 10
    assert attempt(folder) == 0
    page = show()
    assert page.item(ITEM)["history"] == history(root, capsys)
    assert page.curve(LOSS) == {
        record["step"]: record["train/loss"] for record in read_journal(folder / "journal.jsonl")
    }
    assert list(page.marks(LOSS)) == [20, 33]
    assert "preempted by SIGTERM" in page.marks(LOSS)[33]
    for text in (ITEM, "finished", "64/64", "killed", "preempted by SIGTERM", "0.01562", "gemma3 1", "122"):
        assert text in page.shown
    assert "3 (1 preempted, 1 killed)" in page.shown


def test_cells_are_the_words_of_watch(root: Path, folder: Path, show: Show) -> None:
    lock = FolderLock(store(folder, [at(3000, "start", step=0), at(300, "checkpoint", step=20)], 30), 0)
    now = read_item_status(root / "state", ITEM, SHORT, STEPS)
    page = show()
    lock.release()
    assert describe_starts(now) in page.shown
    assert describe_checkpoint(now).partition(",")[0] in page.shown
    assert page.item(ITEM)["pace"] == pytest.approx(now.pace)
    assert page.item(ITEM)["seconds_left"] == pytest.approx(now.seconds_left)
    assert f"{now.pace:.3g} steps/s" in page.shown


def test_it_refreshes_until_every_item_is_finished(root: Path, show: Show) -> None:
    names = [item.name for item in TrainItem.all(load_params(root / "params.yaml"))]
    assert show().facts["refresh_s"] is not None
    for name in names:
        short = next(item["identity"] for item in show().facts["items"] if item["item"] == name)
        store(root / "state" / f"{name}-{short}", [at(9, "start", step=0), at(1, "end", verdict="finished", step=3)], 3)
    assert show().facts["refresh_s"] is None
    assert f"{len(names)} finished" in show().shown


def test_a_loss_that_is_no_number(folder: Path, show: Show) -> None:
    values = {5: math.nan, 6: math.inf, 7: -math.inf}
    store(folder, [at(900, "start", step=0), at(800, "end", verdict="failed", step=7)], 7, values)
    page = show()
    assert page.curve(LOSS) == {**{step: loss_at(step) for step in range(1, 5)}, 5: None, 6: None, 7: None}
    crosses = page.figures[LOSS]["data"][1]
    assert (crosses["name"], crosses["x"], crosses["y"]) == ("no number", [5, 6, 7], [0.25] * 3)
    assert crosses["text"][1] == "step 6: inf"
    (alert,) = [alert for alert in page.facts["alerts"] if alert["kind"] == "number"]
    assert alert["text"] == "train/loss became nan at step 5 and still is at step 7."
    assert alert["text"] in page.shown


@pytest.mark.parametrize("size", [1, 200, 1000, 2000])
def test_files_that_are_cut_anywhere(root: Path, folder: Path, show: Show, size: int) -> None:
    """Cut in the middle of a line, as a full disk or a power cut leaves them."""
    store(folder, [at(900, "start", step=0), at(800, "checkpoint", step=20)], STEPS)
    (folder / "readings.jsonl").write_text(reading_at(5.0) * 20)
    for name in ("journal.jsonl", "events.jsonl", "readings.jsonl"):
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data[:size])
        page = show()
        assert len(page.facts["items"]) == len(TrainItem.all(load_params(root / "params.yaml")))
        (folder / name).write_bytes(data)
    assert show().item(ITEM)["step"] == STEPS


def test_damage_is_said_and_what_is_whole_is_shown(folder: Path, show: Show) -> None:
    lines = store(folder, [at(900, "start", step=0)], STEPS) / "journal.jsonl"
    data = lines.read_bytes().splitlines(keepends=True)
    lines.write_bytes(b"".join([*data[:30], b"\0" * 50 + b"\n", *data[31:]]))
    (folder / "readings.jsonl").mkdir()
    page = show()
    assert page.curve(LOSS) == {step: loss_at(step) for step in range(1, 31)}
    (alert,) = [alert for alert in page.facts["alerts"] if alert["kind"] == "missing"]
    assert f"Line 31 of {lines} is damaged" in alert["text"]
    assert "The readings of the machine cannot be read" in alert["text"]
    assert alert["text"] in page.shown


def test_a_folder_that_cannot_be_read_hides_no_other(root: Path, folder: Path, show: Show) -> None:
    (folder / "events.jsonl").mkdir(parents=True)
    other = "wire-r8-1"
    store(root / "state" / f"{other}-{short_of(other)}", [at(900, "start", step=0)], 9)
    page = show()
    assert page.item(ITEM)["verdict"] == "unknown"
    assert "The run folder cannot be read" in page.shown
    assert len(page.facts["items"]) == len(TrainItem.all(load_params(root / "params.yaml")))


def test_readings_of_the_machine(folder: Path, show: Show) -> None:
    store(folder, [at(900, "start", step=0)], 9)
    lines = [
        reading_at(
            5.0 + place,
            step=2 * place,
            cpu=None if place == 0 else 10.0 * place,
            memory_used=2**30,
            memory_total=2**32,
            disk_free=2**40,
            disk_total=2**41,
            gpus=[{**CARD, "busy": None if place == 2 else 90 + place, "power": None}],
        )
        for place in range(4)
    ]
    (folder / "readings.jsonl").write_text("".join(lines))
    page = show()
    times = [f"2026-01-01 00:00:0{5 + place}.000" for place in range(4)]
    assert page.curve(f"{ITEM}/gpu") == dict(zip(times, [90, 91, None, 93], strict=True))
    assert page.curve(f"{ITEM}/gpu-memory") == dict.fromkeys(times, 1.0)
    assert page.curve(f"{ITEM}/gpu-temperature") == dict.fromkeys(times, 61)
    assert f"{ITEM}/gpu-power" not in page.figures
    assert page.curve(f"{ITEM}/host") == dict(zip(times, [None, 10.0, 20.0, 30.0], strict=True))
    assert page.curve(f"{ITEM}/host", 1) == dict.fromkeys(times, 25.0)
    assert page.curve(f"{ITEM}/disk") == dict.fromkeys(times, 1024.0)
    assert page.curve(f"{ITEM}/pace") == {2: 2.0, 4: 2.0, 6: 2.0}
    assert page.figures[f"{ITEM}/gpu"]["data"][0]["name"] == "NVIDIA H200 GPU-11112222"


def test_a_run_without_readings_says_so(folder: Path, show: Show) -> None:
    store(folder, [at(900, "start", step=0)], 9)
    assert "There are no readings of the machine" in show().shown


def test_nothing_is_fetched_and_nothing_in_a_name_is_code(folder: Path, show: Show) -> None:
    evil = "</script><script>alert(1)</script><b>"
    store(folder, [at(900, "start", step=0, host=evil)], 9)
    with (folder / "journal.jsonl").open("ab") as file:
        file.write(encode_record(10, {f"train/{evil}": 1.0, f"validation/accuracy/{evil}": 0.5}))
    page = show()
    assert [place for place in page.loaded if not place.startswith(("#", "data:"))] == []
    assert "default-src 'none'" in page.source
    assert evil not in page.source
    assert f"{ITEM}/train/<" in "".join(page.figures)
    assert page.item(ITEM)["history"][0]["host"] == evil


def test_plotly_takes_every_chart(folder: Path, show: Show) -> None:
    store(folder, [at(900, "start", step=0), at(400, "start", step=4, restart=1)], 9, {3: math.nan})
    (folder / "readings.jsonl").write_text(reading_at(5.0, cpu=1.0, gpus=[{**CARD, "busy": 9}]) * 2)
    for figure in show().figures.values():
        assert plotly.graph_objects.Figure(figure).to_dict()["layout"]


def test_a_long_journal_is_drawn_by_few_points_with_every_peak(folder: Path, show: Show) -> None:
    steps = 12_000
    store(folder, [at(900, "start", step=0)], steps, {5_345: 50.0, 9_001: -1.0})
    curve = show().curve(LOSS)
    assert len(curve) < 1000
    assert (curve[5_345], curve[9_001], curve[1], curve[steps]) == (50.0, -1.0, 1.0, loss_at(steps))
    assert all(value == loss_at(step) for step, value in curve.items() if step not in (5_345, 9_001))


def test_the_page_has_as_many_colours_as_curves_are_told_apart_by() -> None:
    style = (Path(charts.__file__).parent / "templates/dashboard.css").read_text(encoding="utf-8")
    assert [len(colours.split()) for colours in re.findall(r"--colors: ([^;]+);", style)] == [COLOURS, COLOURS]


def test_two_hundred_runs(root: Path, show: Show) -> None:
    """Items of one matrix, and old runs of one item beside its own."""
    path = root / "params.yaml"
    text = path.read_text().replace("seeds: [0, 1, 2, permuted-0]", f"seeds: {list(range(100))}")
    path.write_text(text.replace("{methods: [wire_1], seeds: [0]}", "{methods: [], seeds: []}"))
    shown = show().facts["items"]
    assert len(shown) == 200
    for item in shown:
        events = [at(900, "start", step=0), at(800, "end", verdict="finished", step=STEPS)]
        store(root / "state" / f"{item['item']}-{item['identity']}", events, STEPS)
    for number in range(100):
        store(root / "state" / f"{ITEM}-{number:012d}", [at(9000, "start", step=0)], 3)
    page = show()
    assert [item["verdict"] for item in page.facts["items"]] == ["finished"] * 200
    assert len(page.item(ITEM)["history"]) == 101
    lines = page.figures["all/loss"]["data"]
    assert len(lines) == 200
    assert all(len(line["x"]) <= FEWEST + 4 for line in lines)
    assert page.figures["all/loss"]["layout"]["showlegend"] is False
    told = COLOURS * len(DASHES)
    assert len({(place % COLOURS, line["line"]["dash"]) for place, line in enumerate(lines[:told])}) == told
    values = load_params(path)
    table = Console(file=io.StringIO(), width=200)
    table.print(status_table(values, root))
    frame = render_frame(status_reader(values, root)(), STEPS, ())
    for told in (page.shown, table.file.getvalue(), str(frame)):  # type: ignore[attr-defined]
        assert [item["item"] for item in shown if item["item"] not in told] == []


def test_what_trains_is_shown_while_other_data_are_not_prepared(
    root: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, show: Show
) -> None:
    """A task may be encoded, and train, long before the next one is."""
    prepared = identities.identity_of

    def identity(values: AnyParams, item: TrainItem, root: Path) -> Any:
        if item.task == "r8":
            return prepared(values, item, root)
        raise ConfigurationError("Nothing is encoded. Next: `dvc repro encode`.")

    monkeypatch.setattr(identities, "identity_of", identity)
    store(folder, [at(900, "start", step=0)], 30)
    lock, values = FolderLock(folder, 0), load_params(root / "params.yaml")
    page, statuses = show(), status_reader(values, root)()
    table = Console(file=io.StringIO(), width=200)
    table.print(status_table(values, root))
    lock.release()
    other = "wire-rotten_tomatoes-0"
    assert (page.item(ITEM)["verdict"], page.item(ITEM)["identity"]) == ("running", SHORT)
    assert (page.item(other)["verdict"], page.item(other)["identity"]) == ("not started", "")
    assert (statuses[SHORT].step, statuses[other].verdict) == (30, "not started")
    assert "Next: `dvc repro encode`" in table.file.getvalue()  # type: ignore[attr-defined]
    with pytest.raises(ConfigurationError, match="Nothing is encoded"):
        status_reader(values, root, other)()


def test_what_was_not_encoded_yet_gets_its_identity_when_it_is(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def identity(values: AnyParams, item: TrainItem, root: Path) -> Any:
        asked.append(item.task)
        if item.task != "r8" and asked.count(item.task) == 1:
            raise ConfigurationError("Nothing is encoded. Next: `dvc repro encode`.")
        return SimpleNamespace(short=short_of(item.name))

    monkeypatch.setattr(identities, "identity_of", identity)
    values = load_params(root / "params.yaml")
    read = status_reader(values, root)
    names = [item.name for item in TrainItem.all(values)]
    first = next(name for name in names if "r8" not in name)
    assert list(read()) == [name if name == first else short_of(name) for name in names]
    assert list(read()) == list(read()) == [short_of(name) for name in names]
    assert len(asked) == len(names) + 1, "one that is known is not computed again"


def test_before_the_data_are_there_the_page_says_what_to_do(
    root: Path, monkeypatch: pytest.MonkeyPatch, show: Show
) -> None:
    monkeypatch.undo()
    page = show()
    assert "Next: `dvc repro prepare`" in page.shown
    assert (page.facts["items"], page.facts["refresh_s"] is None) == ([], False)


def test_one_item_alone(folder: Path, show: Show) -> None:
    store(folder, [at(900, "start", step=0)], 9)
    page = show(ITEM)
    assert [item["item"] for item in page.facts["items"]] == [ITEM]
    assert "all/loss" not in page.figures


def test_what_is_under_way_stands_first(root: Path, folder: Path, show: Show) -> None:
    assert show().facts["items"][0]["item"] != ITEM
    lock = FolderLock(store(folder, [at(900, "start", step=0)], 9), 0)
    assert show().facts["items"][0]["item"] == ITEM
    lock.release()
