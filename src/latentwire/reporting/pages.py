"""The report as one self-contained page and as Markdown, from the outline of the paper."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from html import escape

from latentwire.reporting.outline import Block, Grid, Heading, Listing, Paragraph, Picture
from latentwire.reporting.templates import FOLDER
from latentwire.reporting.words import BOLD, CODE, EMPH, SUBSCRIPT

TAGS = {EMPH: "em", BOLD: "strong", CODE: "code", SUBSCRIPT: "sub"}
NUMBER = re.compile(r"^[\[<]?\s*[+−]?[\d.,]+\b[^A-Za-z]*$")


def page(blocks: Sequence[Block], drawings: Mapping[str, str], title: str, draft: bool) -> str:
    """One HTML file with its style and its drawings (name → SVG) inside; nothing is fetched."""
    counted = _Counter()
    body = "\n".join(_html(block, drawings, counted) for block in blocks)
    style = (FOLDER / "report.css").read_text(encoding="utf-8")
    mark = ' class="draft"' if draft else ""
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<title>{escape(title)}</title>\n'
        f"<style>\n{style}</style>\n</head>\n<body{mark}>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def markdown(blocks: Sequence[Block]) -> str:
    """The same as Markdown; figures are links into `figures/`."""
    counted = _Counter()
    return "\n\n".join(_markdown(block, counted) for block in blocks) + "\n"


class _Counter:
    """Numbers of the tables and figures so far."""

    def __init__(self) -> None:
        self.tables = self.figures = 0

    def table(self) -> int:
        self.tables += 1
        return self.tables

    def figure(self) -> int:
        self.figures += 1
        return self.figures


def _html(block: Block, drawings: Mapping[str, str], counted: _Counter) -> str:
    match block:
        case Heading(level, text):
            return f"<h{level}>{_tagged(text)}</h{level}>"
        case Paragraph(text, aside):
            return f"<p{' class=abstract' if aside else ''}>{_tagged(text)}</p>"
        case Listing(items):
            return "<ul>\n" + "\n".join(f"<li>{_tagged(item)}</li>" for item in items) + "\n</ul>"
        case Picture(name, caption):
            number = counted.figure()
            return (
                f'<figure id="{name}">\n{_inline(drawings[name], name)}\n'
                f"<figcaption><strong>Figure {number}:</strong> {_tagged(caption)}</figcaption>\n</figure>"
            )
        case Grid():
            return _table(block, counted)


def _table(grid: Grid, counted: _Counter) -> str:
    caption = ""
    if grid.caption is not None:
        caption = f"<caption><strong>Table {counted.table()}:</strong> {_tagged(grid.caption)}</caption>\n"
    numeric = [_is_numeric(grid, column) for column in range(len(grid.header))]
    head = "".join(_cell("th", text, right) for (text, _), right in zip(grid.header, numeric, strict=True))
    rows = "\n".join(_row(row, numeric) for row in grid.rows)
    notes = "".join(f"<p>{_tagged(note)}</p>" for note in grid.notes)
    return (
        f'<div class="table">\n<table>\n{caption}<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody>\n</table>\n'
        f'<div class="notes">{notes}</div>\n</div>'
    )


def _is_numeric(grid: Grid, column: int) -> bool:
    """Do numbers, intervals and dashes alone stand in this column?"""
    found = [_bare(row[column][0]) for row in grid.rows if len(row) > 1]
    return any(map(NUMBER.match, found)) and all(NUMBER.match(text) or text in ("–", "") for text in found)


def _row(row: Sequence[tuple[str, int]], numeric: Sequence[bool]) -> str:
    if len(row) == 1:
        return f'<tr class="group"><td colspan="{row[0][1]}">{_tagged(row[0][0])}</td></tr>'
    return "<tr>" + "".join(_cell("td", text, right) for (text, _), right in zip(row, numeric, strict=True)) + "</tr>"


def _cell(tag: str, text: str, right: bool) -> str:
    return f"<{tag}{' class=n' if right else ''}>{_tagged(text)}</{tag}>"


def _inline(svg: str, name: str) -> str:
    """An SVG without its prologue; its ids carry the name of the figure, because a page has one space of ids."""
    drawing = svg[svg.index("<svg") :].strip()
    drawing = re.sub(r"<metadata>.*?</metadata>", "", drawing, flags=re.S)
    drawing = re.sub(r'\bid="', f'id="{name}-', drawing)
    drawing = re.sub(r'href="#', f'href="#{name}-', drawing)
    return re.sub(r"url\(#", f"url(#{name}-", drawing)


def _tagged(text: str) -> str:
    found = escape(text, quote=False)
    for (start, end), tag in TAGS.items():
        found = found.replace(start, f"<{tag}>").replace(end, f"</{tag}>")
    return found


def _bare(text: str) -> str:
    for start, end in TAGS:
        text = text.replace(start, "").replace(end, "")
    return text


def _marked(text: str) -> str:
    """Markdown's own characters are escaped, also `|`, which would end a cell."""
    found = re.sub(r"([\\`*_|<\[\]#])", r"\\\1", text)
    for (start, end), mark in ((EMPH, "*"), (BOLD, "**"), (SUBSCRIPT, "")):
        found = found.replace(start, mark if start != SUBSCRIPT[0] else " ").replace(end, mark)
    return re.sub(f"{CODE[0]}(.*?){CODE[1]}", lambda code: "`" + re.sub(r"\\(.)", r"\1", code.group(1)) + "`", found)


def _markdown(block: Block, counted: _Counter) -> str:
    match block:
        case Heading(level, text):
            return f"{'#' * level} {_marked(text)}"
        case Paragraph(text, aside):
            return ("> " if aside else "") + _marked(text)
        case Listing(items):
            return "\n".join(f"- {_marked(item)}" for item in items)
        case Picture(name, caption):
            return f"![{name}](figures/{name}.png)\n\n**Figure {counted.figure()}:** {_marked(caption)}"
        case Grid():
            return _markdown_table(block, counted)


def _markdown_table(grid: Grid, counted: _Counter) -> str:
    width = len(grid.header)
    lines = [_line([text for text, _ in grid.header]), "|" + " --- |" * width]
    for row in grid.rows:
        texts = [text for text, _ in row]
        lines.append(_line(texts + [""] * (width - len(texts))))
    table = "\n".join(lines)
    title = "" if grid.caption is None else f"**Table {counted.table()}:** {_marked(grid.caption)}\n\n"
    return title + table + "".join(f"\n\n{_marked(note)}" for note in grid.notes)


def _line(texts: Sequence[str]) -> str:
    return "| " + " | ".join(_marked(text) for text in texts) + " |"
