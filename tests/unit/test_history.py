"""`latentwire history`: a real run, killed, preempted and finished, tells why each of its starts ended."""

from __future__ import annotations

import json
import shutil
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from latentwire.cli import run
from latentwire.execution.report import format_appendix, gather_execution
from latentwire.execution.sessions import sessions_from_logs
from latentwire.params.load import load_params
from latentwire.status import read_item_status
from tests.support.toy_items import ITEM, STEPS, attempt
from unbroken.run_folder.events import EVENTS_FILE, Events, read_event_log

ROOT = Path(__file__).parents[2]


def ask(root: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit, match=r"^0$"):
        run(["history", *arguments, "--root", str(root)])
    return capsys.readouterr().out


@pytest.fixture
def root(tmp_path: Path) -> Path:
    shutil.copy(ROOT / "params.yaml", tmp_path)
    return tmp_path


def test_every_start_says_how_far_it_came_and_why_it_ended(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = root / "state" / f"{ITEM}-0123456789ab"
    array = {"SLURM_JOB_ID": "122", "SLURM_ARRAY_JOB_ID": "120", "SLURM_ARRAY_TASK_ID": "4"}
    assert attempt(folder, 25, signal.SIGKILL, **array) == -signal.SIGKILL
    assert attempt(folder, 33, signal.SIGTERM, **array, SLURM_RESTART_COUNT="1") == 75
    assert attempt(folder) == 0
    told = json.loads(ask(root, capsys, ITEM, "--json"))
    columns = ("start", "from_step", "to_step", "ended", "lost_steps", "job", "job_restart")
    assert [tuple(start[name] for name in columns) for start in told] == [
        (0, 0, 24, "killed", 4, "120_4", 0),
        (1, 20, 33, "preempted by SIGTERM", 0, "120_4", 1),
        (2, 33, STEPS, "finished", 0, None, None),
    ]
    table = ask(root, capsys, ITEM)
    for words in ("120_4", "120_4, requeued 1 times", "killed", "preempted by SIGTERM", "finished", "0123456789ab"):
        assert words in table


def test_the_newest_start_may_run_or_be_killed(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = root / "state" / f"{ITEM}-0123456789ab"
    assert attempt(folder, 25, signal.SIGKILL) == -signal.SIGKILL
    (last,) = json.loads(ask(root, capsys, ITEM, "--json"))
    assert (last["ended"], last["to_step"], last["lost_steps"]) == ("killed", 24, 4)


def test_runs_stand_in_the_order_of_their_first_start(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for identity, day in (("aaaaaaaaaaaa", 3), ("bbbbbbbbbbbb", 1)):
        write_start(root / "state" / f"{ITEM}-{identity}", day)
    write_start(root / "state" / "wire-r8-0-other-cccccccccccc", 2)  # another item, whose name goes on
    told = json.loads(ask(root, capsys, ITEM, "--json"))
    assert [start["identity"] for start in told] == ["bbbbbbbbbbbb", "aaaaaaaaaaaa"]
    assert [start["lost_steps"] for start in told] == [0, 0]


def write_start(folder: Path, day: int) -> None:
    """As a version wrote it that knew nothing of SLURM or of lost steps, and that was stopped."""
    folder.mkdir(parents=True)
    base: dict[str, Any] = {"time": f"2026-01-0{day}T00:00:00+00:00", "restart": 0, "host": "a"}
    lines = [{**base, "event": "start", "step": 0}, {**base, "event": "end", "verdict": "preempted", "step": 7}]
    (folder / EVENTS_FILE).write_text("".join(json.dumps(line) + "\n" for line in lines))


NO_EVENTS = (
    '{"verdict": "no word of what happened", "time": "2026-01-01T00:00:00+00:00", "restart": 0}',
    '{"event": "checkpoint", "time": "2026-01-01T00:00:01+00:00", "restart": 0}',
    '{"event": "end", "step": 7}',
    '{"event": "end", "time": "yesterday", "restart": 0}',
    '{"event": "end", "time": "2026-01-01T00:00:00", "restart": 0}',
    '{"event": "end", "time": 5, "restart": "0"}',
    '{"event": "start", "step": true, "time": "2026-01-01T00:00:00+00:00"}',
    '{"event": "start", "step": 1e400, "time": "2026-01-01T00:00:00+00:00"}',
    '{"event": "end", "uptime": NaN, "time": "2026-01-01T00:00:00+00:00"}',
    '{"event": ["end"], "time": "2026-01-01T00:00:00+00:00"}',
    "[1, 2]",
    '"start"',
    "null",
    "17",
    "\0\0\0",
    "[" * 100_000,
)


@pytest.mark.parametrize("line", NO_EVENTS, ids=lambda line: line[:40])
def test_a_line_that_is_no_event_is_said_once_and_hides_nothing(
    line: str, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = root / "state" / f"{ITEM}-aaaaaaaaaaaa"
    write_start(folder, 3)
    path = folder / EVENTS_FILE
    whole = ask(root, capsys, ITEM, "--json")
    known = [read_item_status(root / "state", ITEM, "aaaaaaaaaaaa", STEPS), sessions_from_logs([read_event_log(path)])]
    first, *others = path.read_text().splitlines(keepends=True)
    path.write_text("".join([f"{line}\n", first, f"{line}\n", *others]))
    status = read_item_status(root / "state", ITEM, "aaaaaaaaaaaa", STEPS)
    assert [replace(status, problem=""), sessions_from_logs([read_event_log(path)])] == known
    assert status.problem.startswith(f"2 lines (1, 3) of {path} cannot be read, expected a JSON object with")
    with pytest.raises(SystemExit, match=r"^0$"):
        run(["history", ITEM, "--json", "--root", str(root)])
    said = capsys.readouterr()
    assert (said.out, said.err.count("2 lines (1, 3)")) == (whole, 1)
    execution = gather_execution(root, load_params(root / "params.yaml"))
    assert "\n".join(format_appendix(execution)).count(status.problem) == 1


def test_a_line_that_is_being_written_is_no_damage(root: Path) -> None:
    folder = root / "state" / f"{ITEM}-aaaaaaaaaaaa"
    write_start(folder, 3)
    with (folder / EVENTS_FILE).open("a") as file:
        file.write('{"event": "che')
    log = read_event_log(folder / EVENTS_FILE)
    assert (len(log.events), log.problem) == (2, "")


def test_a_start_after_a_damaged_one_has_a_number_of_its_own(tmp_path: Path) -> None:
    for number in range(3):
        events = Events(tmp_path, pytest.fail)
        assert events.restart == number
        events.add("start", step=0)
    lines = (tmp_path / EVENTS_FILE).read_text().splitlines()
    (tmp_path / EVENTS_FILE).write_text("\n".join(["{}", *lines[1:], ""]))
    assert Events(tmp_path, pytest.fail).restart == 3


def test_an_item_without_a_start_and_one_that_is_none(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert f"dvc repro train@{ITEM}" in ask(root, capsys, ITEM)
    with pytest.raises(SystemExit, match=r"^2$"):
        run(["history", "wire-r8-9", "--root", str(root)])
    assert "wire-r8-9" in capsys.readouterr().err
