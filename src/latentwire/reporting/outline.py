"""`paper.tex` and its tables as headings, paragraphs, lists, tables and figures.

The page and the Markdown are made from the paper itself, so that all three say the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from latentwire.reporting.words import argument, braced, cells, words

Row = tuple[tuple[str, int], ...]
"""Text and span of every cell."""


@dataclass(frozen=True)
class Heading:
    """Level 1 is the title, 2 a section, 3 a paragraph with a name."""

    level: int
    text: str


@dataclass(frozen=True)
class Paragraph:
    """Running text; an abstract is `aside`."""

    text: str
    aside: bool = False


@dataclass(frozen=True)
class Listing:
    """A list of points."""

    items: tuple[str, ...]


@dataclass(frozen=True)
class Grid:
    """A table; a row that is one cell is the name of the rows under it."""

    caption: str | None
    header: Row
    rows: tuple[Row, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Picture:
    """A figure by its name in `reports/figures/`."""

    name: str
    caption: str


Block = Heading | Paragraph | Listing | Grid | Picture
ENVIRONMENT = re.compile(r"\\begin\{(abstract|table|figure|itemize|center)\}(.*?)\\end\{\1\}", flags=re.S)
DROPPED = re.compile(r"\\(?:suppressfloats\[t\]|FloatBarrier|Needspace\{[^}]*\}|medskip|noindent)")


def outline(paper: str, tables: Mapping[str, str]) -> list[Block]:
    """Blocks of the paper in order; `tables` maps the name in `\\input{tables/NAME}` to the text of the table."""
    body = paper.split(r"\begin{document}")[1].split(r"\end{document}")[0]
    body = re.sub(r"\\input\{tables/([^}]*)\}", lambda found: tables[found.group(1)], body)
    body = _numbered(DROPPED.sub("", re.sub(r"(?<!\\)%.*", "", body)))
    blocks: list[Block] = []
    end = 0
    for found in ENVIRONMENT.finditer(body):
        blocks += _running(body[end : found.start()])
        blocks += _block(found.group(1), found.group(2))
        end = found.end()
    return blocks + list(_running(body[end:]))


def _numbered(body: str) -> str:
    """References as the numbers that LaTeX would give, and captions with theirs."""
    numbers: dict[str, int] = {}
    for kind in ("table", "figure"):
        for number, found in enumerate(re.findall(rf"\\begin\{{{kind}\}}.*?\\end\{{{kind}\}}", body, flags=re.S), 1):
            numbers[argument(found, "label") or ""] = number
    body = re.sub(r"\\ref\{([^}]*)\}", lambda found: str(numbers[found.group(1)]), body)
    sections = iter(range(1, 100))
    return re.sub(r"\\section\{", lambda _: rf"\section{{{next(sections)} ", body)


def _running(text: str) -> Iterator[Block]:
    for part in re.split(r"\n\s*\n|(?=\\(?:section|paragraph)\{)", text):
        command = re.match(r"\s*\\(section|paragraph)(?=\{)", part)
        if command:
            title, part = braced(part[command.end() :])
            yield Heading(2 if command.group(1) == "section" else 3, words(title))
        if words(part):
            yield Paragraph(words(part))


def _block(kind: str, body: str) -> Iterator[Block]:
    if kind == "abstract":
        yield Paragraph(words(body), aside=True)
    elif kind == "itemize":
        yield Listing(tuple(words(item) for item in body.split(r"\item")[1:]))
    elif kind == "figure":
        name = re.search(r"\\includegraphics\{figures/(\w+)\.pdf\}", body)
        assert name is not None, "a figure of the paper has a file"
        yield Picture(name.group(1), words(argument(body, "caption") or ""))
    elif r"\LARGE" in body:
        yield Heading(1, words(body))
    else:
        yield from _tables(body)


def _tables(body: str) -> Iterator[Block]:
    caption, notes = (
        argument(body, "caption"),
        re.search(r"\\begin\{tablenotes\}\[\w+\](.*?)\\end\{tablenotes\}", body, re.S),
    )
    found = re.findall(r"\\toprule(.*?)\\bottomrule", body, flags=re.S)
    if not found:
        yield Paragraph(words(body))
    for table in found:
        header, *rows = [row for row in re.split(r"\\\\", table.replace(r"\midrule", "")) if row.strip()]
        yield Grid(
            words(caption) if caption else None,
            tuple(cells(header)),
            tuple(tuple(cells(row)) for row in rows),
            _notes(notes.group(1)) if notes else (),
        )


def _notes(text: str) -> tuple[str, ...]:
    plain = re.sub(r"\\setlength\{[^}]*\}\{[^}]*\}", "", text)
    return tuple(words(item) for item in plain.split(r"\item")[1:])
