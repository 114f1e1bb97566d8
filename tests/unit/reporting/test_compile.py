"""`paper.tex` → `paper.pdf`, and the log that latexmk does not read."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from latentwire.errors import LatentWireError
from latentwire.exits import exit_code_of
from latentwire.reporting import latex
from latentwire.reporting.build import build_report
from latentwire.reporting.document import (
    Code,
    Column,
    Document,
    Emphasis,
    Heading,
    ItemList,
    NoteMark,
    Paragraph,
    RowGroup,
    Table,
    TableRow,
)
from latentwire.reporting.latex import check_log, compile_paper, find_complaints, first_error
from latentwire.reporting.render import render_latex, render_table
from latentwire.stages import report
from tests.support import synthetic_predictions

pytestmark = pytest.mark.long

needs_tex = pytest.mark.skipif(
    shutil.which("latexmk") is None, reason="latexmk is not installed: the paper is checked as text only"
)


def _root(aggregated: Path, folder: Path) -> Path:
    shutil.copytree(aggregated / "results/aggregate", folder / "results/aggregate")
    shutil.copy(aggregated / "params.yaml", folder)
    return folder


def _put_on_path(folder: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A latexmk of our own, alone on PATH: another there would be taken where this one cannot be started."""
    folder.mkdir()
    program = folder / "latexmk"
    program.write_text(text)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))
    source = folder / "paper.tex"
    source.write_text("x")
    return source


def test_a_latexmk_that_cannot_be_started_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Installed for another machine, say: to be there and not to start is another thing than to be absent."""
    source = _put_on_path(tmp_path / "bin", "#!/nowhere/perl\n", monkeypatch)
    with pytest.raises(LatentWireError, match=r"latexmk cannot be started: No such file.*Next: install TeX Live"):
        compile_paper(source)


def test_a_latexmk_that_waits_is_ended_with_all_that_it_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it started keeps its output open, for which a plain `subprocess.run` would wait."""
    note = tmp_path / "engine.pid"
    text = f"#!/bin/sh\n/bin/sleep 60 &\necho $! > {note}\nwait\n"
    source = _put_on_path(tmp_path / "bin", text, monkeypatch)
    monkeypatch.setattr(latex, "MINUTES", 0.02)
    start = time.monotonic()
    with pytest.raises(LatentWireError, match=r"latexmk has not compiled .*paper.tex within .* minutes.*Next: `cd"):
        compile_paper(source)
    assert time.monotonic() - start < 30
    engine = int(note.read_text())
    while _runs(engine) and time.monotonic() - start < 30:
        time.sleep(0.01)  # who is killed ends soon, not at once
    assert not _runs(engine)
    assert sorted(path.name for path in source.parent.iterdir()) == ["latexmk", "paper.tex"]


def _runs(pid: int) -> bool:
    """Whether a process is there, and no zombie that nobody has asked for."""
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


@needs_tex
@pytest.mark.usefixtures("drawn_before")
def test_the_paper_compiles_to_the_same_bytes_in_any_folder(aggregated: Path, tmp_path: Path) -> None:
    """Figures are the same bytes wherever they are drawn: `test_two_builds_are_the_same_bytes`."""
    made = []
    for name in ("one", "another/deeper"):
        root = _root(aggregated, tmp_path / name)
        build_report(root, "A title with 100% & more", synthetic_predictions.NAMES)
        made.append(compile_paper(root / "reports/paper.tex"))
    assert made[0] is not None
    assert made[1] is not None
    assert made[0].read_bytes() == made[1].read_bytes()
    assert sorted(path.name for path in made[0].parent.iterdir()) == [
        *("figures", "paper.pdf", "paper.tex", "provenance.json", "report.html", "report.md", "tables")
    ]


@needs_tex
@pytest.mark.usefixtures("drawn_before")
@pytest.mark.skipif(shutil.which("pdffonts") is None, reason="pdffonts is not installed: fonts are not looked at")
def test_fonts_are_scalable_and_the_best_is_bold(aggregated: Path, tmp_path: Path) -> None:
    root = _root(aggregated, tmp_path)
    build_report(root, "Title", synthetic_predictions.NAMES)
    # A page with one table only: siunitx drops bold without a word, and the paper has other bold text.
    lines = (root / "reports/paper.tex").read_text().splitlines()
    preamble = lines[: next(i for i, line in enumerate(lines) if r"\begin{document}" in line)]
    body = [r"\begin{document}", r"\captionsetup{labelfont=rm}", r"\input{tables/r8.tex}", r"\end{document}"]
    (root / "reports/paper.tex").write_text("\n".join([*preamble, *body]))
    paper = compile_paper(root / "reports/paper.tex")
    fonts = subprocess.run(["pdffonts", str(paper)], capture_output=True, text=True, check=True).stdout
    assert "Type 3" not in fonts
    assert "Bold" in fonts


@needs_tex
@pytest.mark.skipif(shutil.which("pdftotext") is None, reason="pdftotext is not installed: the paper is not read back")
def test_names_with_special_characters_compile_and_are_printed(tmp_path: Path) -> None:
    name = "W & % _ < > # $ { } \\ ~ ^ | ` x"
    table = Table(
        (Column((name,)),), (RowGroup((name,), (TableRow(((name, NoteMark("†")),)),)),), "t", (name,), ((name,),)
    )
    blocks = (
        Heading(2, (name,)),
        Paragraph((name, " ", Code(name), " ", Emphasis((name,)))),
        ItemList(((name,),)),
        table,
    )
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables/t.tex").write_text(render_table(table))
    (tmp_path / "paper.tex").write_text(render_latex(Document("Title", blocks)))
    paper = compile_paper(tmp_path / "paper.tex")
    shown = subprocess.run(["pdftotext", str(paper), "-"], capture_output=True, text=True, check=True).stdout
    printed = re.sub(r"\s+", "", shown.replace("∼", "~").replace("˜", "~").replace("ˆ", "^").replace("∧", "^"))
    assert printed.count(re.sub(r"\s+", "", name)) == 10


@needs_tex
def test_what_latexmk_takes_for_success_is_refused(tmp_path: Path) -> None:
    source = tmp_path / "paper.tex"
    name = "nowhere" * 15  # so long that TeX would wrap its line of the log
    body = rf"\documentclass{{article}}\begin{{document}}As \ref{{{name}}} shows.\end{{document}}"
    source.write_text(body)
    with pytest.raises(LatentWireError, match=rf"Reference `{name}'.*undefined"):
        compile_paper(source)
    source.write_text(body.replace(rf"\ref{{{name}}}", r"\mbox{" + "x" * 200 + "}"))
    with pytest.raises(LatentWireError, match="Overfull"):
        compile_paper(source)
    assert not (tmp_path / "paper.pdf").exists()


@needs_tex
def test_an_error_of_latex_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "paper.tex").write_text("\\documentclass{article}\n\\begin{document}\n\\wire\n\\end{document}\n")
    with pytest.raises(LatentWireError, match=r"Undefined control sequence at l\.3 \\wire\. Expected a paper\. Next:"):
        compile_paper(tmp_path / "paper.tex")


@pytest.mark.usefixtures("drawn_before")
def test_without_an_engine_all_else_is_made(
    aggregated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = _root(aggregated, tmp_path)
    monkeypatch.chdir(root)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert exit_code_of(report.main, []) == 0
    out = capsys.readouterr().out
    assert "note: latexmk is not installed" in out
    assert "--pdf-only" in out
    assert (root / "reports/paper.tex").is_file()
    assert not (root / "reports/paper.pdf").exists()


def test_warnings_of_a_real_log() -> None:
    log = (
        "LaTeX Warning: Reference `tab:r8' on page 1 undefined on input line 40.\n"
        "LaTeX Warning: Label `tab:r8' multiply defined.\n"
        "Overfull \\hbox (4.9pt too wide) in paragraph at lines 3--4\n"
        "Overfull \\hbox (12.08pt too wide) in alignment at lines 9--30\n"
        "Package hyperref Info: Option `undefined' set.\n"
    )
    complaints = find_complaints(log)
    assert len(complaints) == 3
    assert "12.08pt" in complaints[2]
    with pytest.raises(LatentWireError, match="3 complaints, first `LaTeX Warning: Reference"):
        check_log(complaints, Path("reports/paper.tex"))


def test_the_first_error_of_a_log() -> None:
    log = "(./paper.tex\n! Missing $ inserted.\n<inserted text>\n          $\nl.31 a_\n      b\n! Emergency stop.\n"
    assert first_error(log) == "Missing $ inserted at l.31 a_"
    assert first_error("latexmk: nothing to do\n\n") == "latexmk: nothing to do"
