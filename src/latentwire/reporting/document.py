"""The report as a document: headings, paragraphs, lists, tables and figures, in no format.

Text is plain Unicode. `render` prints a document as LaTeX, HTML and Markdown, and nothing is escaped before that.
A line break within a text is a blank to the reader; the LaTeX source keeps it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from string import Formatter
from typing import Literal

from latentwire.errors import EvidenceError

BUG = "Next: this is a bug in latentwire.reporting; report it with results/aggregate/stats.json."


@dataclass(frozen=True)
class Emphasis:
    """Text in italics."""

    text: Text


@dataclass(frozen=True)
class Strong:
    """Text in bold."""

    text: Text


@dataclass(frozen=True)
class Code:
    """A name or a digest in fixed width."""

    text: str


@dataclass(frozen=True)
class Quote:
    """Words of the data, which may be any, between quotation marks; `verbatim` ones have a fixed width instead."""

    text: str
    verbatim: bool = False


@dataclass(frozen=True)
class Variable:
    """A variable of a formula, with a word as its subscript."""

    name: str
    subscript: str = ""


@dataclass(frozen=True)
class Math:
    """A formula: variables between plain text such as ` < 0.001`."""

    parts: tuple[str | Variable, ...]


@dataclass(frozen=True)
class NoteMark:
    """A sign beside a word of a table, which a note under the table explains."""

    symbol: str


@dataclass(frozen=True)
class Reference:
    """The number of a table or figure."""

    label: str


Piece = str | Emphasis | Strong | Code | Quote | Math | NoteMark | Reference
Text = tuple[Piece, ...]


@dataclass(frozen=True)
class Column:
    """A column of a table: its head, and how its cells stand."""

    header: Text
    align: Literal["left", "center", "right"] = "left"
    small: bool = False
    """Cells and head are printed smaller, for intervals beside their number."""
    width: str = ""
    """Such as `1.6in`, for a column whose cells are broken into lines."""
    digits: tuple[int, int] | None = None
    """Digits before and after the point, for numbers that are aligned at it."""
    signed: bool = False
    """Positive numbers get a plus."""


@dataclass(frozen=True)
class TableRow:
    """Cells, and the ids of the numbers in them."""

    cells: tuple[Text, ...]
    ids: tuple[str, ...] = ()


@dataclass(frozen=True)
class RowGroup:
    """Rows under a common title; an empty title is not printed."""

    title: Text
    rows: tuple[TableRow, ...]


@dataclass(frozen=True)
class Heading:
    """A section (level 2, numbered) or a named paragraph (level 3)."""

    level: Literal[2, 3]
    text: Text
    holds_floats: bool = False
    """Tables and figures from before it may not move past it."""
    begins_appendix: bool = False
    """It begins a page, and sections are lettered from it on."""


@dataclass(frozen=True)
class Paragraph:
    """Running text."""

    text: Text
    kind: Literal["body", "abstract", "lead", "footer"] = "body"
    """`lead` introduces a list after another one, `footer` is small print."""


@dataclass(frozen=True)
class ItemList:
    """A list of points."""

    items: tuple[Text, ...]


@dataclass(frozen=True)
class Table:
    """A table. One with a caption is numbered, is a file of `reports/tables/` and names the ids of its numbers."""

    columns: tuple[Column, ...]
    groups: tuple[RowGroup, ...]
    name: str = ""
    caption: Text = ()
    notes: tuple[Text, ...] = ()
    signatures: tuple[str, ...] = ()
    """How the numbers were computed, for a machine."""
    ids: tuple[str, ...] = ()
    density: Literal["normal", "dense", "tight"] = "normal"

    def __post_init__(self) -> None:
        counts = {len(self.columns), *(len(row.cells) for group in self.groups for row in group.rows)}
        if len(counts) > 1:
            raise EvidenceError(
                f"Table {self.name!r} has rows of {sorted(counts)} columns, expected one number of columns. {BUG}"
            )

    @property
    def label(self) -> str:
        return f"tab:{self.name}"


@dataclass(frozen=True)
class Figure:
    """A figure by its name in `reports/figures/`."""

    name: str
    label: str
    caption: Text


@dataclass(frozen=True)
class FigureRow:
    """Figures side by side, each drawn for its share of the width."""

    figures: tuple[Figure, ...]

    @property
    def share(self) -> str:
        """The share of the width that each has."""
        return f"{0.98 / len(self.figures):.3f}"


Block = Heading | Paragraph | ItemList | Table | Figure | FigureRow


@dataclass(frozen=True)
class Document:
    """The whole report; with `draft_reasons` it is marked as a draft."""

    title: str
    blocks: tuple[Block, ...]
    draft_reasons: tuple[str, ...] = ()
    given_words: tuple[str, ...] = ()
    """Names and other words of users, which may be called `None` or `nan`."""

    @property
    def tables(self) -> list[Table]:
        """The numbered tables in order."""
        return [block for block in self.blocks if isinstance(block, Table) and block.caption]

    @property
    def figures(self) -> list[Figure]:
        """The figures in order."""
        return [figure for block in self.blocks for figure in figures_of(block)]

    @property
    def numbers(self) -> dict[str, int]:
        """Label of each numbered table and figure → its number."""
        tables = {table.label: number for number, table in enumerate(self.tables, 1)}
        return tables | {figure.label: number for number, figure in enumerate(self.figures, 1)}

    @property
    def section_numbers(self) -> dict[int, str]:
        """Place of each section among the blocks → its number, which is a letter in the appendix."""
        numbers: dict[int, str] = {}
        count, first = 0, "1"
        for place, block in enumerate(self.blocks):
            if isinstance(block, Heading) and block.level == 2:
                count, first = (0, "A") if block.begins_appendix else (count, first)
                numbers[place] = chr(ord(first) + count) if first == "A" else str(1 + count)
                count += 1
        return numbers


def figures_of(block: Block) -> tuple[Figure, ...]:
    """The figures in a block."""
    match block:
        case Figure():
            return (block,)
        case FigureRow():
            return block.figures
    return ()


def compose_text(pattern: str, **values: object) -> Text:
    """Fill the `{fields}` of a pattern with pieces, texts, strings and whole numbers; no value is parsed.

    Raises:
        EvidenceError: A value is a float, a truth value or None, which nobody has formatted.
    """
    pieces: list[Piece] = []
    for literal, field, _, _ in Formatter().parse(pattern):
        if literal:
            pieces.append(literal)
        if field is not None:
            pieces += _pieces_of(values[field])
    return tuple(pieces)


def _pieces_of(value: object) -> Sequence[Piece]:
    match value:
        case tuple():
            return value
        case str() | Emphasis() | Strong() | Code() | Quote() | Math() | NoteMark() | Reference():
            return [value]
        case int() if not isinstance(value, bool):
            return [str(value)]
    raise EvidenceError(f"{value!r} was to be printed without a format. {BUG}")


def join_texts(texts: Sequence[Text], separator: str = "; ") -> Text:
    """Texts one after another with a separator between them."""
    joined: list[Piece] = []
    for number, text in enumerate(texts):
        joined += [separator, *text] if number else text
    return tuple(joined)


def join_items(items: Sequence[Piece]) -> Text:
    """Items in running text: `a, b and c`; nothing of none."""
    separators = [", "] * (len(items) - 2) + [" and "] * (len(items) > 1) + [""] * bool(items)
    return tuple(piece for pair in zip(items, separators, strict=True) for piece in pair if piece)


def plain_text(text: Text) -> str:
    """The words of a text alone; a reference has none before the document is numbered."""
    return "".join(_words(piece) for piece in text)


def _words(piece: Piece) -> str:
    match piece:
        case str():
            return piece
        case Emphasis(inner) | Strong(inner):
            return plain_text(inner)
        case Code(words) | NoteMark(words):
            return words
        case Quote(words, verbatim):
            return words if verbatim else f"“{words}”"
        case Math(parts):
            return "".join(part if isinstance(part, str) else part.name + part.subscript for part in parts)
        case Reference():
            return ""
    raise EvidenceError(f"{piece!r} is no piece of text, so it would be lost. {BUG}")


def iterate_texts(block: Block) -> Iterator[Text]:
    """Every text of a block, in the order in which it is printed."""
    match block:
        case Heading() | Paragraph():
            yield block.text
        case ItemList():
            yield from block.items
        case Figure() | FigureRow():
            yield from (figure.caption for figure in figures_of(block))
        case Table():
            yield block.caption
            yield from (column.header for column in block.columns)
            for group in block.groups:
                yield group.title
                yield from (cell for row in group.rows for cell in row.cells)
            yield from block.notes
