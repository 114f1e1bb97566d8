"""`latentwire status` before there is anything to tell: every item, and what comes first."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import pytest
from rich.console import Console

from latentwire.console.tables import make_table, print_table
from latentwire.item import TrainItem
from latentwire.params.load import load_params
from latentwire.status import status_table

ROOT = Path(__file__).parents[2]


def printed(root: Path) -> str:
    file = io.StringIO()
    Console(file=file, width=200).print(status_table(load_params(root / "params.yaml"), root))
    return file.getvalue()


def test_in_a_fresh_clone_no_item_was_started(tmp_path: Path) -> None:
    shutil.copy(ROOT / "params.yaml", tmp_path)
    shown = printed(tmp_path)
    items = TrainItem.all(load_params(ROOT / "params.yaml"))
    assert shown.count("not started") == len(items)
    assert [item.name for item in items if item.name not in shown] == []
    assert "Next: `dvc repro prepare`" in shown


def test_a_run_of_which_nobody_knows_whose_it_is_is_not_called_not_started(tmp_path: Path) -> None:
    shutil.copy(ROOT / "params.yaml", tmp_path)
    (tmp_path / "state/wire-r8-0-0123456789ab").mkdir(parents=True)
    (row,) = (line for line in printed(tmp_path).splitlines() if "wire-r8-0 " in line)
    assert "unknown" in row


@pytest.mark.parametrize(("width", "terminal"), [(200, True), (20, True), (40, False)])
def test_a_note_below_a_table_is_one_line_at_any_width(width: int, terminal: bool) -> None:
    table = make_table(["item", "step"], [["wire-r8-0", "0/64"]], names=1)
    table.caption = "Nothing is there yet, which is a long sentence. Next: `dvc repro prepare`."
    console = Console(file=io.StringIO(), width=width, force_terminal=terminal, color_system=None)
    print_table(table, console)
    printed = console.file.getvalue()  # type: ignore[attr-defined]
    assert printed.splitlines()[-1] == "Nothing is there yet, which is a long sentence. Next: `dvc repro prepare`."
    assert "wire-r8-0" in printed
