"""Programs of ours whatever their streams and Python's options are; tables of which nothing is cut."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console
from rich.table import Table

from latentwire.cli import app
from latentwire.console.tables import make_table, print_table
from latentwire.docstrings import read_docstring

ROOT = Path(__file__).parents[3]
CLI = '"$0" -c "from latentwire.cli import run; run()"'
STAGE = '"$0" -c "from latentwire.exits import run_stage; run_stage(lambda argv: print(\'60 → 90\'))"'
NAMES = [f"a_method_with_a_long_name-rotten_tomatoes_{task}-{seed}" for task in ("first", "second") for seed in (0, 1)]


def shell(command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    own = {**os.environ, "PYTHONPATH": str(ROOT / "src"), **variables}
    words = ["bash", "-c", command, sys.executable]
    return subprocess.run(words, cwd=ROOT, env=own, capture_output=True, encoding="latin-1", timeout=120)


@pytest.mark.parametrize("streams", [">&-", "2>&-", ">&- 2>&-", "| true; exit ${PIPESTATUS[0]}", ">/dev/full"])
def test_a_stage_ends_well_whoever_reads(streams: str) -> None:
    done = shell(f"{STAGE} {streams}")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.long
@pytest.mark.parametrize("command", ["doctor", "params"])
@pytest.mark.parametrize("streams", [">&-", ">&- 2>&-", "| true; exit ${PIPESTATUS[0]}"])
def test_a_command_ends_with_its_own_code_whoever_reads(command: str, streams: str, tmp_path: Path) -> None:
    own = {"HOME": str(tmp_path)}
    alone = shell(f"{CLI} {command} >/dev/null", **own).returncode
    done = shell(f"{CLI} {command} {streams}", **own)
    assert (done.returncode, done.stderr) == (alone, "")


@pytest.mark.parametrize("command", ["params", "estimate"])
def test_output_that_a_disk_refuses_is_said(command: str) -> None:
    """Also where DVC, which `estimate` imports, has put another object around the stream."""
    done = shell(f"{CLI} {command} >/dev/full")
    assert done.returncode == 1
    assert done.stderr.startswith("error: The output could not be written: No space left on device. Next: ")


def test_a_stream_of_few_characters() -> None:
    done = shell(f"{CLI} params", PYTHONIOENCODING="latin-1")
    assert (done.returncode, done.stderr) == (0, "")
    assert "task -> how tables" in done.stdout


@pytest.mark.parametrize("encoding", ["idna", "undefined"])
def test_a_stream_whose_codec_has_no_letters(encoding: str) -> None:
    done = shell(f"{CLI} params", PYTHONIOENCODING=encoding)
    assert (done.returncode, done.stderr) == (0, "")
    assert "task → how tables" in done.stdout.encode("latin-1").decode()


@pytest.mark.long
def test_python_without_docstrings_prints_the_same() -> None:
    for command in ("params", "--help", "watch --help"):
        plain, bare = (shell(f"{CLI} {command}", PYTHONOPTIMIZE=level).stdout for level in ("", "2"))
        assert plain == bare
    stage = '"$0" -m latentwire.stages.encode --help'
    assert shell(stage, PYTHONOPTIMIZE="2").stdout == shell(stage).stdout
    assert "Stage `encode`" in shell(stage, PYTHONOPTIMIZE="2").stdout


def test_every_command_has_its_help_without_docstrings() -> None:
    callback = next(c.callback for c in app.registered_commands if c.name == "status")
    assert callback is not None
    said, callback.__doc__ = read_docstring(callback), None
    assert read_docstring(callback) == said != ""
    callback.__doc__ = said


def print_on_terminal(table: Table, width: int) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
    print_table(table, console)
    return console.file.getvalue()  # type: ignore[attr-defined]


@pytest.mark.parametrize("width", [10, 20, 40, 60, 80, 100, 120, 200])
def test_no_cell_is_cut_on_a_terminal_of_any_width(width: int) -> None:
    rows = [(name, "0123456789ab", f"{n}/40", "Line 1 of a journal is [damaged] " * 4) for n, name in enumerate(NAMES)]
    headers = ("item", "identity", "step", "standing")
    text = print_on_terminal(make_table(headers, rows, names=2), width)
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= width
    folded = "".join(text.split())
    for row in rows:
        assert all(cell in (text if "│" in text else folded) for cell in row[:3])
    assert ("│" in text) == (width > 80)
    assert folded.count("[damaged]") == 4 * len(rows) or "│" in text
    assert text.count("[damaged]") == 4 * len(rows) or width < 200


def test_columns_of_numbers_are_never_dropped() -> None:
    """A table of as many numbers as the main one, on the terminal that most people have: they were empty there."""
    numbers = [f"{n}1.{n}" for n in range(9)]
    table = make_table(["Receiver", "Method", *map(str, range(9))], [("A model", "A method", *numbers)], names=2)
    for width in (40, 60, 80, 96, 120):
        assert all(number in print_on_terminal(table, width) for number in numbers), width


def test_a_wide_character_takes_two_columns() -> None:
    table = make_table(["Method", "Seeds"], [("\u6f5c\u5728\u7a7a\u9593\u306e\u7dda", "3")])
    assert "\u6f5c\u5728\u7a7a\u9593\u306e\u7dda" in print_on_terminal(table, 30)


def test_a_width_of_nothing_is_no_width() -> None:
    """Some editors' shells set COLUMNS and LINES to 0, and rich then printed nothing, not even an error."""
    for columns in ("0", "00"):
        done = shell(f"{CLI} historx", COLUMNS=columns, LINES="0")
        assert (done.returncode, "No such command" in done.stderr) == (2, True)
    done = shell(f"{CLI} --help", COLUMNS="0")
    assert "history" in done.stdout


def test_a_file_gets_one_line_for_each_row(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(make_table(("item", "why"), [(name, "because of [this] " * 20) for name in NAMES]))
    lines = capsys.readouterr().out.splitlines()
    assert [sum(name in line and line.count("[this]") == 20 for line in lines) for name in NAMES] == [1, 1, 1, 1]


def test_status_and_doctor_print_whole_names_into_a_pipe(tmp_path: Path) -> None:
    done = shell(f"{CLI} doctor | cat", COLUMNS="40", HOME=str(tmp_path))
    assert "models and data" in done.stdout
    assert "…" not in done.stdout.encode("latin-1").decode()
