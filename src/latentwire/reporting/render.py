"""A document as LaTeX, HTML and Markdown: one environment of Jinja for each, which escapes every value."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from latentwire.errors import EvidenceError
from latentwire.reporting.checks import check_blocks, check_braces
from latentwire.reporting.document import (
    BUG,
    Code,
    Document,
    Emphasis,
    Figure,
    FigureRow,
    Heading,
    ItemList,
    Math,
    NoteMark,
    Paragraph,
    Quote,
    Reference,
    Strong,
    Table,
    Variable,
    join_items,
)
from latentwire.reporting.embedded_svg import embed_svg
from latentwire.reporting.escaping import (
    align_number,
    count_whole_digits,
    escape_formula,
    escape_latex,
    escape_markdown,
    escape_metadata,
    fence_code,
    is_aligned,
    protect_start,
    quote_latex,
    sign_number,
    wrap_name,
)
from latentwire.reporting.splitting import split_table

FOLDER = Path(__file__).parent / "templates"
TYPES = (
    *(Code, Emphasis, Figure, FigureRow, Heading, ItemList, Math, NoteMark, Paragraph, Quote, Reference, Strong),
    *(Table, Variable),
)
LATEX_DELIMITERS = {
    "block_start_string": "<%",
    "block_end_string": "%>",
    "variable_start_string": "<<",
    "variable_end_string": ">>",
    "comment_start_string": "<#",
    "comment_end_string": "#>",
}


def render_latex(document: Document) -> str:
    """`paper.tex`, which reads its numbered tables from `tables/`."""
    check_blocks(document.blocks, "paper.tex", document.given_words)
    return _finished_latex("paper.tex", document=document)


def render_table(table: Table, given_words: Sequence[str] = ()) -> str:
    """A numbered table as a file of `tables/`, in parts of a page; the ids of the numbers end each row."""
    check_blocks([table], f"{table.name}.tex", given_words)
    return _finished_latex("table.tex", parts=split_table(_fit_digits(table)))


def _fit_digits(table: Table) -> Table:
    """Columns with room for the longest of their numbers: a detectable difference may be of more than 100 points."""
    columns = []
    for place, column in enumerate(table.columns):
        cells = [row.cells[place] for group in table.groups for row in group.rows]
        whole = [count_whole_digits(cell) for cell in cells if column.digits and is_aligned(cell)]
        digits = (max(column.digits[0], *whole), column.digits[1]) if column.digits and whole else column.digits
        columns.append(replace(column, digits=digits))
    return replace(table, columns=tuple(columns))


def render_html(document: Document, drawings: Mapping[str, str]) -> str:
    """One page with its style and its drawings (name → SVG) inside; nothing is fetched."""
    style = Markup((FOLDER / "report.css").read_text(encoding="utf-8"))
    embedded = {name: Markup(embed_svg(svg, name)) for name, svg in drawings.items()}
    page = html_environment().get_template("report.html.j2")
    return page.render(document=document, drawings=embedded, style=style, anchors=_anchors(document))


def render_markdown(document: Document) -> str:
    """The same as Markdown; figures are links into `figures/`."""
    text = markdown_environment().get_template("report.md.j2").render(document=document)
    return text.strip("\n") + "\n"


def _finished_latex(name: str, **context: Any) -> str:
    text = latex_environment().get_template(f"{name}.j2").render(**context)
    text = "\n".join(line.rstrip() for line in text.splitlines()).rstrip() + "\n"
    check_braces(text, name)
    return text


def _anchors(document: Document) -> dict[str, str]:
    """Label of each numbered table and figure → its id in the page."""
    names = {figure.label: figure.name for figure in document.figures}
    return {label: names.get(label, label) for label in document.numbers}


@cache
def latex_environment() -> Environment:
    """Jinja with delimiters that LaTeX does not use."""
    environment = _environment(escape_latex, **LATEX_DELIMITERS)
    environment.tests["aligned"] = is_aligned
    environment.filters |= {
        "aligned": align_number,
        "formula": escape_formula,
        "verbatim": Markup,
        "wrapped": wrap_name,
        "metadata": escape_metadata,
        "quoted": quote_latex,
    }
    return environment


@cache
def html_environment() -> Environment:
    """Jinja as it is, with its own escaping."""
    return _environment(str)


@cache
def markdown_environment() -> Environment:
    """Jinja for Markdown."""
    environment = _environment(escape_markdown)
    environment.filters |= {"code": fence_code, "protected": protect_start}
    return environment


def _environment(escape: Callable[[str], str], **delimiters: str) -> Environment:
    """Undefined names and values without a format are errors; `escape` is applied to every string.

    Jinja's own escaping stays on and finds nothing left to do where `escape` returns `Markup`.
    """
    environment = Environment(
        loader=FileSystemLoader(FOLDER),
        undefined=StrictUndefined,
        finalize=lambda value: _printable(value, escape),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        **delimiters,  # type: ignore[arg-type]
    )
    for kind in TYPES:
        environment.tests[kind.__name__.lower()] = lambda value, kind=kind: isinstance(value, kind)
    environment.filters |= {"listed": join_items, "refused": _refuse_piece, "signed": sign_number}
    return environment


def _refuse_piece(piece: object) -> str:
    raise EvidenceError(f"{piece!r} is a piece of text that this template does not know, so it would be lost. {BUG}")


def _printable(value: Any, escape: Callable[[str], str]) -> Any:
    if isinstance(value, Markup):
        return value
    if isinstance(value, str):
        return escape(value)
    if isinstance(value, bool | float) or value is None:
        raise EvidenceError(f"{value!r} was to be printed without a format. {BUG}")
    return value
