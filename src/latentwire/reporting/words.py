"""LaTeX words → plain words with marks, for the few commands that our own templates use.

A mark is a character of the private use area, so that no text can hold one by accident.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

EMPH, BOLD, CODE, SUBSCRIPT = ("\ue000", "\ue001"), ("\ue002", "\ue003"), ("\ue004", "\ue005"), ("\ue006", "\ue007")
LITERAL = {"\\textbackslash": "\ue010", "\\{": "\ue011", "\\}": "\ue012", "\\$": "\ue013"}
BACK = {"\ue010": "\\", "\ue011": "{", "\ue012": "}", "\ue013": "$"}
SYMBOLS = {
    "\\textasciicircum": "^", "\\textasciitilde": "\ue014", "\\textless": "<", "\\textgreater": ">",
    "\\textbar": "|", "\\Delta": "Δ", "\\alpha": "α", "\\cdot": "·", "\\pm": "±", "\\dag": "†", "\\,": "\u202f",
    "\\&": "&", "\\%": "%", "\\#": "#", "\\_": "_", "\\ ": " ",
}  # fmt: skip
IGNORED = re.compile(r"\\(?:scriptsize|footnotesize|small|noindent|medskip|ttfamily|LARGE|centering|FloatBarrier)\b\s*")
WRAPPED = {"emph": EMPH, "textbf": BOLD, "texttt": CODE}


def words(tex: str) -> str:
    """The text of a piece of LaTeX; marks stand around what is emphasised, bold, code or a subscript.

    Raises:
        ValueError: A command is left that is not known here, so that nothing is lost in silence.
    """
    text = re.sub(r"\s+", " ", tex.replace("\\\\", " ")).strip()
    for command, mark in LITERAL.items():
        text = text.replace(command, mark)
    text = re.sub(r"^\\bfseries\s*(.*)$", lambda m: BOLD[0] + m.group(1) + BOLD[1], text)
    text = re.sub(r"\\tnote\{(.*?)\}", r"\1", IGNORED.sub("", text))
    text = re.sub(r"\$(.*?)\$", lambda m: _mathematics(m.group(1)), text)
    for name, marks in WRAPPED.items():
        while f"\\{name}{{" in text:
            before, rest = text.split(f"\\{name}", 1)
            inner, after = braced(rest)
            text = before + marks[0] + inner + marks[1] + after
    for command, symbol in SYMBOLS.items():
        text = text.replace(command, symbol)
    if "\\" in text:
        raise ValueError(
            f"{text[text.index(chr(92)) :][:40]!r} is LaTeX that the page does not know; add it to words.py"
        )
    text = text.replace("{", "").replace("}", "").replace("~", "\u00a0").replace("--", "–").replace("\ue014", "~")
    return "".join(BACK.get(letter, letter) for letter in text).strip()


def _mathematics(tex: str) -> str:
    subscripted = re.sub(r"_\{\\mathrm\{(\w+)\}\}", SUBSCRIPT[0] + r"\1" + SUBSCRIPT[1], tex)
    return subscripted.replace("-", "−").replace("p" + SUBSCRIPT[0], EMPH[0] + "p" + EMPH[1] + SUBSCRIPT[0])


def braced(tex: str) -> tuple[str, str]:
    """Content of the braces that `tex` begins with, and what comes after them.

    Raises:
        ValueError: It begins with something else, or they do not close.
    """
    depth = 0
    for position, letter in enumerate(tex):
        escaped = position > 0 and tex[position - 1] == "\\"
        depth += (letter == "{") - (letter == "}") if not escaped else 0
        if depth == 0:
            if position == 0:
                break
            return tex[1:position], tex[position + 1 :]
    raise ValueError(f"{tex[:40]!r} was read, expected a group in braces")


def argument(tex: str, command: str) -> str | None:
    """The first argument of the first use of a command; None where it is not used."""
    start = tex.find(f"\\{command}{{")
    return None if start < 0 else braced(tex[start + len(command) + 1 :])[0]


def cells(row: str) -> Iterator[tuple[str, int]]:
    """Text and span of each cell of a row of a table."""
    for cell in re.split(r"(?<!\\)&", row):
        spanned = re.match(r"\s*\\multicolumn\{(\d+)\}", cell)
        if spanned:
            yield words(braced(braced(cell[spanned.end() :])[1])[0]), int(spanned.group(1))
        else:
            # siunitx prints the sign of a number as a minus, not as a hyphen.
            yield re.sub(r"^-(?=\d)", "−", words(cell)), 1
