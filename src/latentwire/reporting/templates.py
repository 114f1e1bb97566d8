"""Jinja for LaTeX: other delimiters, undefined names are errors, and every value is escaped."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from latentwire.errors import EvidenceError
from latentwire.reporting.numbers import Tex, escape, listed

FOLDER = Path(__file__).parent / "templates"


def render(template: str, **context: Any) -> str:
    """Fill a template of `reporting/templates/`; trailing blanks are cut and the result is checked."""
    text = _environment().get_template(template).render(**context)
    text = "\n".join(line.rstrip() for line in text.splitlines()).rstrip() + "\n"
    check(text, template)
    return text


def check(text: str, where: str) -> None:
    """Refuse LaTeX that would compile in silence to something else than was meant.

    Raises:
        EvidenceError: A number that is none is printed, braces do not match, or rows differ in their columns.
    """
    visible = re.sub(r"(?<!\\)%.*", "", text)
    bad = re.search(r"\b(nan|inf|None|Undefined)\b", visible)
    if bad:
        raise EvidenceError(f"{where} would print {bad.group()!r}, expected a number or a dash. {_BUG}")
    plain = re.sub(r"\\[{}\\]", "", visible)
    if plain.count("{") != plain.count("}"):
        raise EvidenceError(f"{where} has {plain.count('{')} opening and {plain.count('}')} closing braces. {_BUG}")
    for body in re.findall(r"\\toprule(.*?)\\bottomrule", visible, flags=re.S):
        _check_columns(body, where)


def _check_columns(body: str, where: str) -> None:
    counts = {_columns(row) for row in re.split(r"\\\\", body) if _columns(row) > 1}
    if len(counts) > 1:
        raise EvidenceError(f"{where} has rows of {sorted(counts)} columns, expected one number of columns. {_BUG}")


def _columns(row: str) -> int:
    spanned = sum(int(span) - 1 for span in re.findall(r"\\multicolumn\{(\d+)\}", row))
    return len(re.findall(r"(?<!\\)&", row)) + 1 + spanned


def _finalize(value: Any) -> Any:
    if isinstance(value, str):
        return escape(value)
    if isinstance(value, bool | float) or value is None:
        raise EvidenceError(f"{value!r} was to be printed without a format. {_BUG}")
    return value


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(FOLDER),
        undefined=StrictUndefined,
        finalize=_finalize,
        autoescape=False,
        trim_blocks=True,
        lstrip_blocks=True,
        block_start_string="<%",
        block_end_string="%>",
        variable_start_string="<<",
        variable_end_string=">>",
        comment_start_string="<#",
        comment_end_string="#>",
    )
    environment.filters["tex"] = escape
    environment.filters["listed"] = listed
    environment.filters["raw"] = Tex
    environment.filters["columns"] = lambda cells: Tex(" & ".join(map(escape, cells)))
    return environment


_BUG = "Next: this is a bug in latentwire.reporting; report it with results/aggregate/stats.json."
