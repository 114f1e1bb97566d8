"""Plain text → LaTeX and Markdown; Jinja itself escapes HTML.

`Markup` is text that is in its format already and is not escaped again.
"""

from __future__ import annotations

import re
import textwrap

from markupsafe import Markup

from latentwire.params.printed_names import PRINTED
from latentwire.reporting.document import Strong, Text

MATHEMATICS = {
    "Γ": "Gamma", "Δ": "Delta", "Θ": "Theta", "Λ": "Lambda", "Ξ": "Xi", "Π": "Pi", "Σ": "Sigma", "Υ": "Upsilon",
    "Φ": "Phi", "Ψ": "Psi", "Ω": "Omega", "α": "alpha", "β": "beta", "γ": "gamma", "δ": "delta", "ε": "varepsilon",
    "ζ": "zeta", "η": "eta", "θ": "theta", "ι": "iota", "κ": "kappa", "λ": "lambda", "μ": "mu", "ν": "nu", "ξ": "xi",
    "π": "pi", "ρ": "rho", "ς": "varsigma", "σ": "sigma", "τ": "tau", "υ": "upsilon", "φ": "varphi", "χ": "chi",
    "ψ": "psi", "ω": "omega", "±": "pm", "≤": "leq", "≥": "geq", "≠": "neq", "≈": "approx", "≡": "equiv", "∼": "sim",
    "∞": "infty", "∈": "in", "∂": "partial", "∇": "nabla", "∑": "textstyle\\sum", "∏": "textstyle\\prod", "√": "surd",
    "↔": "leftrightarrow", "⇒": "Rightarrow",
}  # fmt: skip
"""Signs that LaTeX has in formulas only, with their command."""
LATEX = {sign: rf"$\{command}$" for sign, command in MATHEMATICS.items()} | {
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
    "—": r"\textemdash{}",
    "†": r"\dag{}",
    "‡": r"\ddag{}",
}
FORMULA = (
    LATEX
    | {sign: rf"\{command}" for sign, command in MATHEMATICS.items()}
    | {
        "\\": r"\backslash{}",
        "^": r"\wedge{}",
        "~": r"\sim{}",
        "`": r"\prime{}",
        "<": "<",
        ">": ">",
        "|": "|",
        "−": "-",
        "·": r"\cdot",
        "†": r"\dagger{}",
        "‡": r"\ddagger{}",
    }
)
LIGATURE = re.compile(r"(?<=[-–—])(?=[-–—])|(?<=')(?=')|(?<=,)(?=,)|(?<=[-',])$")
"""Where TeX would make one sign of two; at the end too, since the next piece of text may begin with the second."""
LONGEST_WORD = 10
"""Letters of a word of the data after which a line may end, if no blank serves."""
UNPRINTED = re.compile(
    r"(?:(?![\s{0}]).)+(?:\s+(?:(?![\s{0}]).)+)*".format(re.escape("".join(sorted({*LATEX, *PRINTED}))))
)
"""Words in letters that LaTeX lacks."""
NUMBER = re.compile(r"[+−]?\d[\d.,]*")
LINE_OF_NAME = 17
"""Letters of a name that stand on one line of a table."""
LINE_OF_NAMES = 27
"""Letters of the difference of two names that do."""
MARKDOWN = re.compile(r"[\\`*_|<>\[\]#~$]|&(?=#?\w+;)")
"""Characters that Markdown takes for its own; `|` would end a cell, and `&` begins an entity."""
STARTS = re.compile(r"^(\d+)(?=[.)](?:\s|$))|^(?=[-+=](?:\s|$|[-+=]))")
"""What would make a list, a rule or a heading of a paragraph that begins with it."""


def escape_latex(text: str) -> Markup:
    """The text as LaTeX prints it; no line of it is blank, because that would end the paragraph."""
    return _marked(text, LATEX)


def quote_latex(text: str) -> Markup:
    """Words of the data as LaTeX prints them, which may end a line anywhere in a long word.

    Of letters that LaTeX lacks, such as a sentence in another script, the first is named and the others are counted.
    """
    short = UNPRINTED.sub(lambda found: _count_unprinted(re.sub(r"\s", "", found.group())), text)
    return Markup("").join(map(_breakable, re.split(r"(\s+)", short)))


def _count_unprinted(letters: str) -> str:
    more = f" and {len(letters) - 1} more" if len(letters) > 1 else ""
    return f"[U+{ord(letters[0]):04X}{more}]"


def _breakable(word: str) -> Markup:
    pieces = [word[start : start + LONGEST_WORD] for start in range(0, len(word), LONGEST_WORD)]
    return Markup(r"\penalty500{}").join(map(escape_latex, pieces))


def escape_formula(text: str) -> Markup:
    """The same within a formula."""
    return _marked(text, FORMULA)


def escape_metadata(text: str) -> Markup:
    """The text as a title within a PDF, which has all of Unicode and no fonts."""
    return Markup(
        "".join(rf'\unichar{{"{ord(letter):04X}}}' if letter > "~" else LATEX.get(letter, letter) for letter in text)
    )


def _marked(text: str, replacements: dict[str, str]) -> Markup:
    if isinstance(text, Markup):
        return text
    joined = re.sub(r"[ \t\r]*\n[ \t\r\n]*", "\n", text)
    return Markup(
        "{}".join("".join(_latex_letter(letter, replacements) for letter in part) for part in LIGATURE.split(joined))
    )


def _latex_letter(letter: str, replacements: dict[str, str]) -> str:
    """A letter as LaTeX; one that it lacks, in a label of the data for example, by its number."""
    known = letter in replacements or letter in PRINTED or letter == "\n"
    return replacements.get(letter, letter) if known else f"[U+{ord(letter):04X}]"


def wrap_name(cell: Text) -> list[Text]:
    """The lines of a cell of a table that begins with a name, or with the difference of two; most have one."""
    if not cell or not isinstance(cell[0], str):
        return [cell]
    parts = cell[0].split(" – ")
    if max(map(len, parts)) <= LINE_OF_NAME and len(cell[0]) <= LINE_OF_NAMES:
        return [cell]
    parts[:-1] = [f"{part} –" for part in parts[:-1]]
    lines = [line for part in parts for line in textwrap.wrap(part, LINE_OF_NAME)]
    return [*((line,) for line in lines[:-1]), (lines[-1], *cell[1:])]


def is_aligned(cell: Text) -> bool:
    """Is a cell a number, which siunitx aligns at its point? Anything else stands in braces there."""
    return len(cell) == 1 and NUMBER.fullmatch(_number(cell)) is not None


def count_whole_digits(cell: Text) -> int:
    """Digits before the point of a number."""
    return len(_number(cell).lstrip("+−").partition(".")[0])


def align_number(cell: Text) -> Markup:
    """A number for siunitx, which keeps bold with `mode=text, reset-text-series=false` and prints a minus itself."""
    bold = r"\bfseries " if isinstance(cell[0], Strong) else ""
    return Markup(bold + _number(cell).replace("−", "-"))


def sign_number(cell: Text, signed: bool) -> Text:
    """A cell of a column that is `signed`, with the plus that siunitx prints by itself."""
    if not signed or not is_aligned(cell) or _number(cell)[0] in "+−":
        return cell
    return (Strong((f"+{_number(cell)}",)),) if isinstance(cell[0], Strong) else (f"+{_number(cell)}",)


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
