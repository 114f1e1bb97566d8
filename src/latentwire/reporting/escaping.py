"""Plain text → LaTeX and Markdown; Jinja itself escapes HTML.

`Markup` is text that is in its format already and is not escaped again.
"""

from __future__ import annotations

import re

from markupsafe import Markup

from latentwire.reporting.document import Strong, Text

LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "`": r"\textasciigrave{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "\u00a0": "~",
    "\u202f": r"\,",
    "–": "--",
    "−": "$-$",
    "±": r"$\pm$",
    "Δ": r"$\Delta$",
    "†": r"\dag{}",
}
FORMULA = LATEX | {
    "\\": r"\backslash{}",
    "^": r"\wedge{}",
    "~": r"\sim{}",
    "`": r"\prime{}",
    "<": "<",
    ">": ">",
    "|": "|",
    "−": "-",
    "±": r"\pm",
    "·": r"\cdot",
    "α": r"\alpha",
    "Δ": r"\Delta",
    "†": r"\dagger{}",
}
NUMBER = re.compile(r"[+−]?\d[\d.,]*")
MARKDOWN = re.compile(r"[\\`*_|<>\[\]#~$]|&(?=#?\w+;)")
"""Characters that Markdown takes for its own; `|` would end a cell, and `&` begins an entity."""
STARTS = re.compile(r"^(\d+)(?=[.)](?:\s|$))|^(?=[-+=](?:\s|$|[-+=]))")
"""What would make a list, a rule or a heading of a paragraph that begins with it."""


def escape_latex(text: str) -> Markup:
    """The text as LaTeX prints it; no line of it is blank, because that would end the paragraph."""
    return _marked(text, LATEX)


def escape_formula(text: str) -> Markup:
    """The same within a formula."""
    return _marked(text, FORMULA)


def _marked(text: str, replacements: dict[str, str]) -> Markup:
    if isinstance(text, Markup):
        return text
    joined = re.sub(r"[ \t\r]*\n[ \t\r\n]*", "\n", text)
    return Markup("".join(replacements.get(letter, letter) for letter in joined))


def is_aligned(cell: Text) -> bool:
    """Is a cell a number, which siunitx aligns at its point? Anything else stands in braces there."""
    return len(cell) == 1 and NUMBER.fullmatch(_number(cell)) is not None


def align_number(cell: Text) -> Markup:
    """A number for siunitx, which keeps bold with `mode=text, reset-text-series=false` and prints a minus itself."""
    bold = r"\bfseries " if isinstance(cell[0], Strong) else ""
    return Markup(bold + _number(cell).replace("−", "-"))


def _number(cell: Text) -> str:
    match cell:
        case (str(number),) | (Strong((str(number),)),):
            return number
    return ""


def escape_markdown(text: str) -> Markup:
    """The text as Markdown prints it, on one line."""
    if isinstance(text, Markup):
        return text
    return Markup(MARKDOWN.sub(r"\\\g<0>", re.sub(r"[ \t\r]*\n[ \t\r\n]*", " ", text)))


def protect_start(paragraph: Markup) -> Markup:
    """A paragraph of Markdown that stays one, whatever it begins with."""
    return Markup(STARTS.sub(r"\1\\", paragraph.lstrip(" \t")))


def fence_code(text: str, in_table: bool = False) -> Markup:
    """Code in Markdown, between more backticks than are in it; within a table `|` would end the cell even so."""
    if in_table and "|" in text:
        return Markup(f"<code>{escape_markdown(text)}</code>")
    longest = max(map(len, re.findall(r"`+", text)), default=0)
    fence, pad = "`" * (longest + 1), " " if "`" in text else ""
    return Markup(fence + pad + text.replace("\n", " ") + pad + fence)
