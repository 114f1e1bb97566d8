"""Documents and pieces of them as text, for tests that read what is printed."""

from __future__ import annotations

import re
from dataclasses import dataclass

from latentwire.reporting.document import Document, Paragraph, Text
from latentwire.reporting.paper import build_paper
from latentwire.reporting.render import render_html, render_latex, render_markdown, render_table
from latentwire.reporting.report_data import ReportData, Revision
from latentwire.reporting.tables import build_tables


@dataclass(frozen=True)
class PrintedTable:
    """A file of `reports/tables/` and the ids of the numbers in it."""

    name: str
    text: str
    ids: tuple[str, ...]


def print_tables(data: ReportData) -> list[PrintedTable]:
    """All tables as LaTeX, of a report whose revision is not known."""
    return [PrintedTable(f"{table.name}.tex", render_table(table), table.ids) for table in build_tables(data)]


def print_paper(data: ReportData, title: str, revision: Revision | None = None) -> str:
    """`paper.tex`."""
    return render_latex(build_paper(data, title, build_tables(data, revision), revision))


def print_latex(text: Text | str) -> str:
    """A paragraph alone as LaTeX."""
    body = render_latex(_document(text)).split("\\end{center}\n", 1)[1]
    return body.removesuffix("\\end{document}\n").strip("\n")


def print_html(text: Text | str) -> str:
    """A paragraph alone as HTML."""
    paragraph = re.search(r"</h1>\n<p>(.*)</p>\n</main>", render_html(_document(text), {}), flags=re.S)
    assert paragraph is not None
    return paragraph.group(1)


def print_markdown(text: Text | str) -> str:
    """A paragraph alone as Markdown."""
    return render_markdown(_document(text)).split("\n\n", 1)[1].removesuffix("\n")


def _document(text: Text | str) -> Document:
    return Document("Title", (Paragraph((text,) if isinstance(text, str) else text),))
