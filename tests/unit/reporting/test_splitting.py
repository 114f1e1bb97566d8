"""Tables that are longer or wider than a page, and drawings that are higher: the paper compiles with all of them."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from latentwire.reporting.document import Column, Document, Figure, Heading, Paragraph, RowGroup, Table, TableRow
from latentwire.reporting.latex import compile_paper
from latentwire.reporting.render import render_latex, render_table
from latentwire.reporting.splitting import PAGE, split_table

needs_tex = pytest.mark.skipif(
    None in (shutil.which("latexmk"), shutil.which("pdftotext")), reason="latexmk or pdftotext is not installed"
)


def _table(groups: int, rows: int, columns: int = 4, name: str = "t") -> Table:
    cells = tuple((f"[{number}.0, 100.0]",) for number in range(columns - 1))
    made = [
        RowGroup((f"Group {group}",), tuple(TableRow(((f"Method {group}-{row}",), *cells)) for row in range(rows)))
        for group in range(groups)
    ]
    heads = (Column(("Method",), width="1.2in"), *[Column(("CI",), align="center")] * (columns - 1))
    note = ("What the columns mean. " * 20,)
    return Table(heads, tuple(made), name, (f"Caption of {name}.",), (note,), ("signature",), density="dense")


def test_a_table_of_a_page_is_left_as_it_is() -> None:
    table = _table(3, 10)
    assert split_table(table) == [table]


@pytest.mark.parametrize(("groups", "rows"), [(4, 14), (1, 60), (40, 3), (1, 300)])
def test_the_parts_have_all_rows_once_and_the_notes_stand_last(groups: int, rows: int) -> None:
    table = _table(groups, rows)
    parts = split_table(table)
    shown = [row for part in parts for group in part.groups for row in group.rows]
    assert shown == [row for group in table.groups for row in group.rows]
    assert len(parts) > 1
    assert all(not part.notes and not part.signatures for part in parts[:-1])
    assert (parts[-1].notes, parts[-1].signatures) == (table.notes, table.signatures)
    counts = [sum(len(group.rows) for group in part.groups) for part in parts]
    assert max(counts) - min(counts) <= max(counts) / 2 + len(parts)


def test_rows_that_are_longer_than_a_page_come_to_an_end() -> None:
    words = "word " * int(PAGE)
    rows = tuple(TableRow(((words,),)) for _ in range(3))
    table = Table((Column(("Text",), width="1.2in"),), (RowGroup((), rows),), "t", ("Caption",))
    assert len(split_table(table)) == 3


@needs_tex
@pytest.mark.long
def test_long_and_wide_tables_and_high_drawings_fit_their_pages(tmp_path: Path) -> None:
    tables = [_table(4, 14, name="one"), _table(9, 14, name="many"), _table(2, 3, columns=8, name="wide")]
    plain = replace(_table(1, 130, name=""), caption=(), notes=(), signatures=())
    (tmp_path / "tables").mkdir()
    (tmp_path / "figures").mkdir()
    for table in tables:
        (tmp_path / f"tables/{table.name}.tex").write_text(render_table(table), encoding="utf-8")
    _draw(tmp_path / "figures/high.pdf", height=14)
    blocks = (
        Heading(2, ("A",)),
        *tables,
        Figure("high", "fig:high", ("High.",)),
        plain,
        Paragraph(("End.",), "footer"),
    )
    (tmp_path / "paper.tex").write_text(render_latex(Document("Title", blocks)), encoding="utf-8")
    paper = compile_paper(tmp_path / "paper.tex")
    shown = subprocess.run(["pdftotext", str(paper), "-"], capture_output=True, text=True, check=True).stdout
    assert shown.count("Table 2: (continued)") == len(split_table(tables[1])) - 1
    assert re.search(r"Table 3: Caption of wide", shown)
    for table in (*tables, plain):
        names = [row.cells[0][0] for group in table.groups for row in group.rows]
        assert [name for name in names if str(name) not in shown] == []


def _draw(path: Path, height: float) -> None:
    from matplotlib.figure import Figure as Drawing

    Drawing(figsize=(6.75, height)).savefig(path)


def test_a_column_has_room_for_its_longest_number() -> None:
    cells = ("1.5", "−12.5", "+1234.5", "–")
    rows = tuple(TableRow(((cell,),)) for cell in cells)
    table = Table((Column(("MDE",), digits=(2, 1)),), (RowGroup((), rows),), "t", ("Caption",))
    assert "table-format=4.1" in render_table(table)
    assert "table-format=2.1" in render_table(replace(table, groups=(RowGroup((), rows[:2]),)))
