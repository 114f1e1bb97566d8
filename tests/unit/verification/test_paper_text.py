"""A compiled paper says what the predictions say, or its row names the words that they do not."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from latentwire.reporting.latex import ENGINE, compile_paper
from latentwire.verification import paper_text
from latentwire.verification.paper_text import PAPER, first_other_words, paper_rows
from latentwire.verification.rebuild import Rebuilt
from latentwire.verification.rows import Status

TEX = r"""\pdftrailerid{}\pdfsuppressptexinfo=-1 \pdfinfoomitdate=1
\documentclass{article}\begin{document}The wire answers 91.2 percent of all texts. %s\end{document}
"""


@pytest.fixture(scope="module")
def papers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`true`, `forged` and `retouched`, each with `reports/paper.tex` and the PDF of it."""
    if shutil.which(ENGINE) is None or shutil.which("pdftotext") is None:
        pytest.skip("needs latexmk and pdftotext")
    root = tmp_path_factory.mktemp("papers")
    for name, text in (
        ("true", TEX % ""),
        ("forged", TEX.replace("91.2", "97.2") % ""),
        ("retouched", TEX.replace("The wire", r"\noindent The wire") % ""),
    ):
        source = root / name / "reports/paper.tex"
        source.parent.mkdir(parents=True)
        source.write_text(text)
        assert compile_paper(source)
    return root


def judged(papers: Path, name: str, tmp_path: Path) -> tuple[Status, str]:
    """The row of a PDF beside predictions that give the paper `true`."""
    again = tmp_path / "again/reports"
    again.mkdir(parents=True)
    shutil.copy(papers / "true/reports/paper.tex", again)
    (row,) = paper_rows(papers / name, Rebuilt({}, None, None, again.parent))
    assert (row.kind, row.name) == ("paper", PAPER)
    return row.status, row.why


def test_a_true_paper_is_identical(papers: Path, tmp_path: Path) -> None:
    assert judged(papers, "true", tmp_path) == (Status.IDENTICAL, "")


def test_another_number_in_the_paper_is_named(papers: Path, tmp_path: Path) -> None:
    status, why = judged(papers, "forged", tmp_path)
    assert status is Status.CONTRADICTED
    assert "it says 'The wire answers 97.2 percent of' for 'The wire answers 91.2 percent of'" in why


def test_the_same_words_in_other_bytes_say_nothing_of_the_drawings(papers: Path, tmp_path: Path) -> None:
    status, why = judged(papers, "retouched", tmp_path)
    assert status is Status.NOT_VERIFIABLE
    assert "the same words" in why
    assert "Next: `python -m latentwire.stages.report --pdf-only`" in why


def test_what_is_no_pdf_is_contradicted(papers: Path, tmp_path: Path) -> None:
    (tmp_path / "reports").mkdir()
    (tmp_path / PAPER).write_bytes(b"97.2 %")
    shutil.copytree(papers / "true", tmp_path / "papers/true")
    shutil.copytree(tmp_path / "reports", tmp_path / "papers/broken/reports")
    assert judged(tmp_path / "papers", "broken", tmp_path)[0] is Status.CONTRADICTED


def test_without_tex_or_predictions_a_paper_is_not_verifiable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert paper_rows(tmp_path, Rebuilt(None, "no predictions", None, None)) == []
    (tmp_path / "reports").mkdir()
    (tmp_path / PAPER).write_bytes(b"%PDF")
    (row,) = paper_rows(tmp_path, Rebuilt(None, "no predictions", None, None))
    assert (row.status, row.why) == (Status.NOT_VERIFIABLE, "it cannot be built again: no predictions")
    monkeypatch.setattr(paper_text, "compile_paper", lambda _: None)
    (row,) = paper_rows(tmp_path, Rebuilt({}, None, None, tmp_path))
    assert row.status is Status.NOT_VERIFIABLE
    assert "Next: install TeX Live" in row.why


def test_words_that_were_added_or_left_out_are_named() -> None:
    assert first_other_words(["a", "b"], ["a", "b", "c"]) == "it says 'a b c' for 'a b'"
    assert first_other_words(["a", "b"], ["b"]) == "it says 'b' for 'a b'"


@pytest.mark.parametrize("reader", ["#!/bin/sh\nexit 127\n", "\x7fELF of another machine"])
def test_a_reader_that_reads_nothing_is_no_contradiction(
    reader: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "reports").mkdir()
    (tmp_path / PAPER).write_bytes(b"%PDF")
    (tmp_path / "again.pdf").write_bytes(b"%PDF again")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/pdftotext").write_text(reader)
    (tmp_path / "bin/pdftotext").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(paper_text, "compile_paper", lambda _: tmp_path / "again.pdf")
    (row,) = paper_rows(tmp_path, Rebuilt({}, None, None, tmp_path))
    assert row.status is Status.NOT_VERIFIABLE
    assert "cannot read even the paper that was compiled just now" in row.why
